"""The ratchet: a configuration is sealed once, and what may follow is decided here.

The seal is the configuration in canonical form and its SHA-256. The same configuration again is
welcome and changes nothing, however differently it is written; any other is refused with the
reason, and a changed mode above all.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from geneveil.model.cluster import parse_span
from geneveil.model.errors import RefusedError, TrustError
from geneveil.operator.config import ClusterIPsec

_SPANS = ("caLifetime", "nodeLifetime", "renewAfter", "caRotateAfter")


@dataclass(frozen=True)
class Seal:
    """A sealed configuration.

    Attributes:
        canonical: JSON, keys sorted, no blanks; spans in one spelling, ports ascending.
        sha256: its hash, 64 hexadecimal digits.
    """

    canonical: str
    sha256: str


def make_seal(config: ClusterIPsec) -> Seal:
    """Seal a configuration."""
    # a setting that is not set is left out: what an older version sealed stays the same
    document = config.model_dump(by_alias=True, mode="json", exclude_none=True)
    certificates = document["spec"]["certificates"]
    for name in _SPANS:
        if name in certificates:
            certificates[name] = parse_span(certificates[name]).years_text
    document["spec"]["genevePorts"].sort()
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return Seal(canonical, _hash(canonical))


def open_seal(seal: Seal) -> ClusterIPsec:
    """Read a sealed configuration back.

    Raises:
        TrustError: it is not what was sealed.
    Fails closed: yes.
    """
    if _hash(seal.canonical) != seal.sha256:
        raise TrustError(
            "the sealed configuration was changed on the disk",
            why="it does not match its hash",
            remedy="restore the operator's state from a backup",
        )
    return ClusterIPsec.model_validate_json(seal.canonical)


def check_change(sealed: Seal, wanted: Seal) -> None:
    """Say whether a configuration may be given to a cluster that has one already.

    Raises:
        RefusedError: `mode-sealed` if the mode differs, `configuration-sealed` if anything else
            does; the message names every field that differs.
    """
    old, new = json.loads(sealed.canonical), json.loads(wanted.canonical)
    old_mode, new_mode = old["spec"]["mode"], new["spec"]["mode"]
    if old_mode != new_mode:
        raise RefusedError(
            "mode-sealed",
            f"spec.mode stays {old_mode}",
            why="IPsec can be switched on only while the cluster is installed"
            if new_mode == "Full"
            else "IPsec was switched on when the cluster was installed and is never off again",
            remedy="nothing was changed",
        )
    differing = _differences(old, new, "")
    if differing:
        raise RefusedError(
            "configuration-sealed",
            "this cluster's configuration is sealed and differs from the one given",
            why="; ".join(differing),
            remedy="nothing was changed",
        )


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            found += _differences(old.get(key), new.get(key), inner)
        return found
    return [] if old == new else [f"{path} is {json.dumps(old)}, not {json.dumps(new)}"]


def _hash(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()
