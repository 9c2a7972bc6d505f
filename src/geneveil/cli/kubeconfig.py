"""Which kubeconfig a person means. Pure, but for looking whether files are there."""

import os
from collections.abc import Mapping
from pathlib import Path

from geneveil.model.errors import ConfigError

_IN_A_POD = "KUBERNETES_SERVICE_HOST"


def choose_kubeconfig(option: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The option's file, else that of KUBECONFIG; None for a Pod's own access, or the usual file.

    Of the files that KUBECONFIG names those that are not there do not count, as for kubectl.

    Raises:
        ConfigError: it names several. kubectl merges them; nothing is guessed here.
    """
    if option is not None or _IN_A_POD in environ:
        return option
    named = [Path(text).expanduser() for text in environ.get("KUBECONFIG", "").split(os.pathsep)]
    named = [path for path in named if path != Path()]
    there = [path for path in named if path.exists()]
    if len(there) > 1:
        raise ConfigError(
            f"KUBECONFIG names {len(there)} files, and they are not merged here",
            remedy="give --kubeconfig FILE; kubectl config view --flatten --raw writes one of all",
        )
    return next(iter(there or named), None)
