"""Reads SAs and their keys from the text of `ip xfrm state` (with or without -d and -s).

For evidence alone: `ip` has no JSON for XFRM, and the judge should not learn the keys from the
program that it judges. Lines that say nothing about what an SA is (lifetimes, statistics, the
selector) are skipped; an SA of which something needed is missing or odd is an error, never left
out.

    src 192.0.2.12 dst 192.0.2.11
        proto esp spi 0xc0000002 reqid 1 mode transport
        replay-window 0 flag esn
        aead rfc4106(gcm(aes)) 0x2021…b3 128
        encap type espinudp sport 4500 dport 4500 addr 0.0.0.0
        anti-replay esn context:
         seq-hi 0x8, seq 0x4, oseq-hi 0x7, oseq 0xfffffffe

Source: ip-xfrm(8); iproute2, ip/ipxfrm.c (what is printed, and how).
"""

import re
from ipaddress import ip_address

from geneveil.verify.errors import EvidenceError
from geneveil.verify.evidence import SaKey

SALT_BYTES = 4

_HEAD = re.compile(r"src (\S+) dst (\S+)")
_PROTO = re.compile(r"proto (\S+) spi (0x[0-9a-f]+).* mode (\S+)")
_AEAD = re.compile(r"aead (\S+) (0x(?:[0-9a-f]{2})*)(?: \(\d+ bits\))? (\d+)$")
_ENCRYPTION = re.compile(r"enc (\S+)(?: (0x(?:[0-9a-f]{2})*))?(?: \(\d+ bits\))?$")
_AUTHENTICATION = re.compile(r"auth-trunc \S+ 0x[0-9a-f]*(?: \(\d+ bits\))? (\d+)$")
_ENCAPSULATION = re.compile(r"encap type (\S+) sport (\d+) dport (\d+)")
_SEQUENCE = re.compile(r"seq-hi (0x[0-9a-f]+), .*oseq-hi (0x[0-9a-f]+)")


def parse_ip_xfrm_state(text: str, node: str) -> tuple[SaKey, ...]:
    """Every ESP SA with its key, in the order of the text; SPIs still larval are left out.

    Args:
        text: what `ip xfrm state` printed on the node. Nothing at all means no SA.
        node: the node's name.
    Raises:
        EvidenceError: the text is not what `ip xfrm state` prints, or an SA can't be read whole;
            names the node and the SA.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            blocks.append([])
        elif not blocks:
            raise EvidenceError(f"SAs of {node}", why=f"the text begins with {line.strip()!r}")
        blocks[-1].append(line.strip())
    found = (_parse_block(block, node) for block in blocks)
    return tuple(sa for sa in found if sa is not None)


def _parse_block(lines: list[str], node: str) -> SaKey | None:
    head = _HEAD.match(lines[0])
    if head is None:
        raise EvidenceError(f"SAs of {node}", why=f"{lines[0]!r} does not begin an SA")
    where = f"SA {head[1]} -> {head[2]} of {node}"
    for address in head.groups():
        try:
            ip_address(address)
        except ValueError as error:
            raise EvidenceError(where, why=str(error)) from error
    proto = _find(_PROTO, lines)
    if proto is None:
        raise EvidenceError(where, why="there is no line with protocol, SPI and mode")
    if proto[1] != "esp":
        return None  # AH or IPComp: no key that could open anything
    spi = int(proto[2], 16)
    algorithm, secret, icv_bits = _parse_algorithm(lines)
    if not algorithm:
        if any(re.match(r"(auth|aead|enc|comp)", line) for line in lines):
            raise EvidenceError(f"{where}, SPI {spi:#010x}", why="its cipher can't be read")
        return None  # larval: an SPI taken for an exchange in flight, without keys yet
    salt_bytes = SALT_BYTES if algorithm.startswith("rfc4106(") else 0
    if len(secret) < salt_bytes:
        raise EvidenceError(f"{where}, SPI {spi:#010x}", why="its key is shorter than a salt")
    encapsulation = _find(_ENCAPSULATION, lines)
    sequence = _find(_SEQUENCE, lines)
    return SaKey(
        source=head[1],
        destination=head[2],
        spi=spi,
        algorithm=algorithm,
        key=secret[: len(secret) - salt_bytes],
        salt=secret[len(secret) - salt_bytes :] if salt_bytes else b"",
        icv_bits=icv_bits,
        esn=any(re.search(r"\bflag\b.*\besn\b", line) for line in lines),
        mode=proto[3],
        node=node,
        encapsulation_ports=(
            (int(encapsulation[2]), int(encapsulation[3])) if encapsulation else ()
        ),
        sequence_high=max(int(sequence[1], 16), int(sequence[2], 16)) if sequence else 0,
    )


def _parse_algorithm(lines: list[str]) -> tuple[str, bytes, int]:
    """Name, key with salt, ICV in bits; an empty name if no cipher is stated."""
    aead = _find(_AEAD, lines)
    if aead is not None:
        return aead[1], bytes.fromhex(aead[2][2:]), int(aead[3])
    encryption = _find(_ENCRYPTION, lines)
    if encryption is not None:
        authentication = _find(_AUTHENTICATION, lines)
        icv_bits = int(authentication[1]) if authentication else 0
        return encryption[1], bytes.fromhex((encryption[2] or "0x")[2:]), icv_bits
    return "", b"", 0


def _find(pattern: re.Pattern[str], lines: list[str]) -> re.Match[str] | None:
    for line in lines:
        if match := pattern.match(line):
            return match
    return None
