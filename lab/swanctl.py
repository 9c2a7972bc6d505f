"""charon of a guest, spoken to as a person would: with swanctl."""

import re
from dataclasses import dataclass

from lab.stage import Stage

_URI = "--uri unix:///run/charon.vici 2> /dev/null"
_IKE_SA = re.compile(r"^(\S+): #(\d+), ESTABLISHED", re.MULTILINE)
_CHILD = re.compile(r"^  (\S+): #(\d+), reqid \d+, (?:INSTALLED|REKEYING),", re.MULTILINE)


@dataclass(frozen=True)
class ListedIkeSa:
    """An IKE_SA that is established; `children`: name to unique id."""

    connection: str
    unique_id: int
    children: dict[str, int]


async def list_ike_sas(stage: Stage, node: str) -> list[ListedIkeSa]:
    """What charon lists, the newest first."""
    return parse_ike_sas(await stage.running.remote(node).check(f"swanctl --list-sas {_URI}"))


def parse_ike_sas(text: str) -> list[ListedIkeSa]:
    """The answer of `swanctl --list-sas`."""
    found = []
    begins = [*_IKE_SA.finditer(text)]
    ends = [match.start() for match in begins[1:]] + [len(text)]
    for match, end in zip(begins, ends, strict=False):
        part = text[match.end() : end]
        children = {name: int(uid) for name, uid in _CHILD.findall(part)}
        found.append(ListedIkeSa(match[1], int(match[2]), children))
    return found


async def initiate(stage: Stage, node: str, connection: str, child: str) -> None:
    """Ask for a child; returns once it is there."""
    command = f"swanctl --initiate --ike {connection} --child {child} {_URI}"
    await stage.running.remote(node).check(command)


async def rekey_child(stage: Stage, node: str, unique_id: int) -> None:
    """Ask for a child's successor; does not wait for it."""
    await stage.running.remote(node).check(f"swanctl --rekey --child-id {unique_id} {_URI}")
