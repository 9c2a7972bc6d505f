"""Runs a container of our manifests without a container engine: its command, user, capabilities,
read-only root and mounts, over the lab's root file system in place of the image's.

What an engine does besides is not here: seccomp, SELinux or AppArmor, namespaces of users,
processes and IPC, limits, and the image itself. The lab's root has more packages than the image;
that what is used is among the image's, tests/real/test_deploy_image.py says.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.build import artifacts
from tests.image import TOP, read_image
from tests.real.programs import DEADLINE_SECONDS, lab_root

Json = dict[str, Any]
GENEVEIL = '#!/bin/sh\nPYTHONPATH=/opt/code:/opt/site exec /usr/bin/python3 -P -m geneveil "$@"\n'


def pod_of(kind: str, manifest: str = "full.yaml") -> Json:
    """The Pod of a DaemonSet or Deployment, as shipped."""
    text = (TOP / "deploy/manifests" / manifest).read_text()
    documents = [one for one in yaml.safe_load_all(text) if one]
    (found,) = (one for one in documents if one["kind"] == kind)
    pod: Json = found["spec"]["template"]["spec"]
    return pod


def container_of(pod: Json, name: str) -> Json:
    """One of its containers, of either sort."""
    (found,) = (
        c for c in [*pod.get("initContainers", ()), *pod["containers"]] if c["name"] == name
    )
    return dict(found)


@dataclass
class Host:
    """A machine for one Pod: a network namespace, and a folder that is the root of its files.

    Attributes:
        empty: what each emptyDir of the Pod is, so that its containers share them.
        config: files of each ConfigMap, by its volume's name.
    """

    namespace: str
    root: Path
    config: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def folder(self, volume: Json) -> Path:
        """What is mounted for a volume."""
        name = str(volume["name"])
        if "hostPath" in volume:
            path = str(volume["hostPath"]["path"])
            if path.startswith("/proc/"):
                return Path(path)  # of the host's network, which the namespace's processes see
            place = self.root / path.lstrip("/")
        else:
            place = self.root / "volumes" / name
        place.mkdir(parents=True, exist_ok=True)
        for file, text in self.config.get(name, {}).items():
            (place / file).write_text(text)
        return place

    def command(self, pod: Json, container: Json, *instead: str) -> list[str]:
        """How to run it; the caller ends it.

        Args:
            instead: of its own command, in the same container, as `kubectl exec` and probes do.
        """
        volumes = {one["name"]: self.folder(one) for one in pod["volumes"]}
        mounts = sorted(container["volumeMounts"], key=lambda one: str(one["mountPath"]))
        lines = [*_image(), *_kernel()]
        for mount in mounts:
            # by the image's own links: /var/run is one, and would lead out of it
            place = f'\'mkdir -p "$1" && readlink -f "$1"\' sh {mount["mountPath"]}'
            lines.append(f'target="$root$(chroot "$root" /bin/sh -c {place})"')
            lines.append(f'mount --bind {volumes[mount["name"]]} "$target"')
            if mount.get("readOnly"):
                lines.append('mount -o remount,bind,ro "$target"')
        if container["securityContext"]["readOnlyRootFilesystem"]:
            lines.append('mount -o remount,ro "$root"')
        words = " ".join(_rights(pod, container))
        lines.append(f'exec chroot "$root" /usr/bin/setpriv {words} -- "$@"')
        argv = list(instead) or _argv(container)
        inside = ["unshare", "-m", "sh", "-ec", "\n".join(lines), "sh", *argv]
        return ["ip", "netns", "exec", self.namespace, *inside]

    def environment(self, container: Json, **given: str) -> dict[str, str]:
        """The image's, with what the manifest says."""
        said = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
        return {"PATH": ":".join((*read_image().path, os.environ["PATH"])), **said, **given}

    def run(self, pod: Json, container: Json, *instead: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(pod, container, *instead),
            env=self.environment(container),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )


def _argv(container: Json) -> list[str]:
    command = container.get("command") or read_image().entrypoint
    return [str(word) for word in (*command, *container.get("args", ()))]


def _image() -> list[str]:
    """A root that is thrown away, with what the Dockerfile puts into it."""
    root = lab_root()
    (site,) = (one.folder / "site" for one in artifacts.status() if one.kind == "site")
    assert root is not None, "needs a built lab (make setup)"
    image = read_image()
    lines = [
        "mount -t tmpfs none /mnt",
        "mkdir /mnt/upper /mnt/work /mnt/root",
        "root=/mnt/root",
        f'mount -t overlay -o lowerdir={root},upperdir=/mnt/upper,workdir=/mnt/work none "$root"',
        'mkdir -p "$root/opt/geneveil/bin" "$root/opt/code"',
        f'mount --bind {site} "$root/opt/site"',
        f'mount --bind {TOP / "src"} "$root/opt/code"',
        f"printf %s '{GENEVEIL}' > \"$root/opt/geneveil/bin/geneveil\"",
        'chmod 755 "$root/opt/geneveil/bin/geneveil"',
        *(f'rm -rf "$root"{folder}' for folder in image.removed),
    ]
    for source, target in image.copied.items():
        lines += [f'mkdir -p "$root"{target.parent}', f'cp {source} "$root"{target}']
    # links of the source lead into deploy/
    return [*lines, 'mkdir -p "$root/opt/deploy"', f'mount --bind {TOP}/deploy "$root/opt/deploy"']


def _kernel() -> list[str]:
    return [
        'mount --rbind /proc "$root/proc"',
        'mount --bind /proc/sys "$root/proc/sys"',
        'mount -o remount,bind,ro "$root/proc/sys"',
        'mount --bind /dev "$root/dev"',
    ]


def _rights(pod: Json, container: Json) -> list[str]:
    context = {**pod["securityContext"], **container["securityContext"]}
    added = [f"+{name.lower()}" for name in context["capabilities"].get("add", ())]
    bounding = ",".join(["-all", *added])
    user, group = context["runAsUser"], context["runAsGroup"]
    rights = [f"--bounding-set={bounding}", "--inh-caps=-all", "--clear-groups"]
    if not context["allowPrivilegeEscalation"]:
        rights.append("--no-new-privs")
    return [*rights, f"--reuid={user}", f"--regid={group}"]
