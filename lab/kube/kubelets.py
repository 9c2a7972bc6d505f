"""What every node's kubelet does about tokens, in one process: asks for each Pod's with the node's
own credentials, writes it into the node's guest, and replaces it when four fifths of its time are
over.

    python -m lab.kube.kubelets PLAN        see lab.kube.in_lab

Runs in the lab's network namespace. It begins once the Pods are there.
"""

import json
import sys
import time
from pathlib import Path

from lab.errors import LabError
from lab.kube import objects
from lab.kube.arguments import Layout, Programs
from lab.kube.cluster import request_token
from lab.kube.server import ApiServer

TOKEN_SECONDS = 3600
RENEWED_AT = 0.8
_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 5.0


def main() -> None:
    """Go on until killed."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(plan["layout"]["folder"])
    layout = Layout(folder, plan["layout"]["address"], plan["layout"]["port"])
    programs = Programs(**{name: Path(path) for name, path in plan["programs"].items()})
    server = ApiServer(layout, programs)
    while not (folder / "pods-made").exists():
        time.sleep(_LOOK_SECONDS)
    due = {pod["name"]: 0.0 for pod in plan["pods"]}
    while True:
        for pod in plan["pods"]:
            if time.monotonic() >= due[pod["name"]]:
                due[pod["name"]] = time.monotonic() + _renew(server, pod)
        time.sleep(_LOOK_SECONDS)


def _renew(server: ApiServer, pod: dict[str, str]) -> float:
    """Get one Pod's token; how long until the next time."""
    config = server.node_kubeconfig(pod["node"])
    place = ("--namespace", objects.NAMESPACE)
    try:
        document = server.kubectl_json("get", "pod", pod["name"], *place, config=config)
        token = request_token(server, document, seconds=TOKEN_SECONDS)
    except (LabError, OSError) as error:
        print(f"{pod['name']}: {error}", file=sys.stderr, flush=True)
        return _RETRY_SECONDS
    write_token(Path(pod["token"]), token)
    print(f"{pod['name']}: a new token", file=sys.stderr, flush=True)
    return TOKEN_SECONDS * RENEWED_AT


def write_token(path: Path, token: str) -> None:
    """Whole or not at all, readable by its owner alone."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(token)
    draft.rename(path)


if __name__ == "__main__":
    main()
