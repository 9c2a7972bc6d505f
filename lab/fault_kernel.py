"""What of ours the nodes' kernels hold, SPIs and policies, before and after a fault: rule 3."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lab.fault import Fault, Keeps, Pair
from lab.stage import Stage

SAS_OF_A_PAIR = 4
"""Two children, two directions each."""

_STATE = re.compile(r"^src (\S+) dst (\S+)\n\tproto esp spi (0x[0-9a-f]+)", re.MULTILINE)
_SELECTOR = re.compile(r"^src (\S+)/\d+ dst (\S+)/\d+ ")
Held = tuple[str, str, str]
"""Source, destination, and an SPI or a policy's text."""


@dataclass(frozen=True)
class KernelHeld:
    """By node, what is between addresses of the underlay."""

    spis: Mapping[str, set[Held]]
    policies: Mapping[str, set[Held]]


async def read_kernels(stage: Stage) -> KernelHeld:
    """Of each node, as ip(8) tells it."""
    ours = {str(node.underlay.ip) for node in stage.nodes}

    async def look(name: str) -> tuple[set[Held], set[Held]]:
        remote = stage.running.remote(name)
        states = await remote.check("ip xfrm state")
        policies = await remote.check("ip xfrm policy")
        return parse_states(states, ours), parse_policies(policies, ours)

    names = [node.name for node in stage.nodes]
    found = await asyncio.gather(*(look(name) for name in names))
    return KernelHeld(
        {name: spis for name, (spis, _) in zip(names, found, strict=True)},
        {name: policies for name, (_, policies) in zip(names, found, strict=True)},
    )


def parse_states(text: str, ours: set[str]) -> set[Held]:
    """The answer of `ip xfrm state`: the SPIs of SAs between these addresses."""
    return {(a, b, spi) for a, b, spi in _STATE.findall(text) if a in ours and b in ours}


def parse_policies(text: str, ours: set[str]) -> set[Held]:
    """The answer of `ip xfrm policy`: policies between these addresses, as they are written."""
    found = set()
    for block in re.split(r"\n(?=\S)", text.strip()):
        match = _SELECTOR.match(block)
        if match and match[1] in ours and match[2] in ours:
            found.add((match[1], match[2], " ".join(block.split())))
    return found


def judge_kernels(
    fault: Fault, addresses: Mapping[str, str], before: KernelHeld, after: KernelHeld
) -> list[str]:
    """Rule 3, of the nodes that are there before and after."""
    return judge_spis(fault, addresses, before.spis, after.spis) + judge_policies(
        fault, addresses, before.policies, after.policies
    )


def judge_spis(
    fault: Fault,
    addresses: Mapping[str, str],
    before: Mapping[str, set[Held]],
    after: Mapping[str, set[Held]],
) -> list[str]:
    """A double that an earlier fault left may go: what carries a pair must stay."""
    broken = []
    for node in before.keys() & after.keys():
        left = after[node]
        for source, destination, spi in sorted(before[node] ^ left):
            pair = (addresses[source], addresses[destination])
            is_new = (source, destination, spi) in left
            of_pair = sum({a, b} == {source, destination} for a, b, _ in left)
            if not is_new and of_pair >= SAS_OF_A_PAIR:
                continue
            if _must_keep(fault, pair):
                word = "is new" if is_new else "is gone"
                broken.append(f"{node}: SPI {spi} of {pair[0]} → {pair[1]} {word}")
    return broken


def judge_policies(
    fault: Fault,
    addresses: Mapping[str, str],
    before: Mapping[str, set[Held]],
    after: Mapping[str, set[Held]],
) -> list[str]:
    """Policies are as they were, to the letter, wherever SPIs must be."""
    broken = []
    for node in before.keys() & after.keys():
        for source, destination, text in sorted(before[node] ^ after[node]):
            pair = (addresses[source], addresses[destination])
            if _must_keep(fault, pair):
                word = "is new" if (source, destination, text) in after[node] else "is gone"
                broken.append(f"{node}: policy of {pair[0]} → {pair[1]} {word}: {text}")
    return broken


def _must_keep(fault: Fault, pair: Pair) -> bool:
    if fault.keeps is Keeps.UNTOUCHED:
        return not fault.renews_pair(pair)
    return fault.keeps is Keeps.ALL
