"""Makes deploy/manifests from the Helm chart: `python -m lab.manifests`, or `make manifests`."""

import subprocess
from pathlib import Path

from lab.build import kubernetes

TOP = Path(__file__).parents[1]
CHART = TOP / "deploy/chart/geneveil"
FOLDER = TOP / "deploy/manifests"
NAMESPACE = "geneveil-system"
_ON = ("mode=Full", "createNamespace=true", "clusterIPsec.create=false")
_OFF = ("mode=Disabled", "createNamespace=true", "clusterIPsec.create=false")
_SWITCH = "templates/clusteripsec.yaml"
# The switch is a file of its own: no object of a kind can be applied with the kind.
RENDERINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "full.yaml": (_ON, ""),
    "full-openshift.yaml": ((*_ON, "openshift=true"), ""),
    "disabled.yaml": (_OFF, ""),
    "disabled-openshift.yaml": ((*_OFF, "openshift=true"), ""),
    "clusteripsec-full.yaml": (("mode=Full",), _SWITCH),
    "clusteripsec-disabled.yaml": (("mode=Disabled",), _SWITCH),
}


def render(helm: Path, values: tuple[str, ...], only: str = "", namespace: str = NAMESPACE) -> str:
    """What `helm template` makes of the chart.

    Args:
        values: `name=value`.
        only: one template, instead of all.
    """
    command = [str(helm), "template", "geneveil", str(CHART), "--namespace", namespace]
    for value in values:
        command += ["--set", value]
    if only:
        command += ["--show-only", only]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Write every file anew."""
    helm = kubernetes.ensure().helm
    FOLDER.mkdir(exist_ok=True)
    for name, (values, only) in RENDERINGS.items():
        (FOLDER / name).write_text(render(helm, values, only))


if __name__ == "__main__":
    main()
