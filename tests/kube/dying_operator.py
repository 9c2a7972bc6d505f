"""An operator that is killed (SIGKILL, by itself) at one exact write. Run as a program.

python -m tests.kube.dying_operator before|after METHOD PLURAL[/SUBRESOURCE] NAME-PREFIX -- ARGS
"""

import os
import signal
import sys
from typing import Any

from geneveil.cli.app import main
from geneveil.kube.io import KubeClient
from geneveil.kube.port import Kind


def arm(when: str, method: str, what: str, prefix: str) -> None:
    """Make the client die around one write."""
    plain = getattr(KubeClient, method)

    def deadly(self: KubeClient, kind: Kind, document: Any, *more: Any) -> Any:
        subresource = f"/{more[-1]}" if more and method != "create" else ""
        is_it = kind.plural + subresource == what
        is_it = is_it and str(document["metadata"]["name"]).startswith(prefix)
        if is_it and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = plain(self, kind, document, *more)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(KubeClient, method, deadly)


if __name__ == "__main__":
    arm(*sys.argv[1:5])
    sys.argv[1:] = sys.argv[6:]
    main()
