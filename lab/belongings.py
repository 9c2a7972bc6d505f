"""What others have on a node: an XFRM state and a policy, an nftables table, a charon connection.

Put there before anything is done, and compared after everything: nothing but ours is touched.
"""

import asyncio
from collections.abc import Sequence

from lab.bringup import Running
from lab.fault import Belonging

_STATE = "src 203.0.113.1 dst 203.0.113.2 proto esp spi 0x0f0e0d0c"
_KEY = "0x" + "5a" * 36
# Not swanctl --load-conns: that takes away every connection that is not in its own files, ours too.
_LOAD = """
import socket, vici
link = socket.socket(socket.AF_UNIX)
link.connect("/run/charon.vici")
end = {"auth": "psk", "id": "others.example"}
child = {"mode": "tunnel", "local_ts": ["203.0.113.1/32"], "remote_ts": ["203.0.113.2/32"]}
vici.Session(link).load_conn({"others": {
    "version": "2", "local_addrs": ["203.0.113.1"], "remote_addrs": ["203.0.113.2"],
    "local": end, "remote": {"auth": "psk", "id": "elsewhere.example"},
    "children": {"others": child},
}})
"""
_PUT = {
    Belonging.XFRM: (
        f"ip xfrm state delete {_STATE} 2> /dev/null || true; "
        f"ip xfrm state add {_STATE} reqid 4242 mode tunnel aead 'rfc4106(gcm(aes))' {_KEY} 128"
        " sel src 203.0.113.1/32 dst 203.0.113.2/32;"
        " ip xfrm policy update src 203.0.113.1/32 dst 203.0.113.2/32 dir out priority 4242"
        " tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 4242 mode tunnel"
    ),
    Belonging.NFTABLES: (
        "nft -f - <<'N'\ntable inet others\ndelete table inet others\ntable inet others {\n"
        " chain c {\n  type filter hook input priority 10;\n  udp dport 9 counter drop\n }\n}\nN"
    ),
    Belonging.CHARON: f"PYTHONPATH=/opt/site python3 -P - <<'P'{_LOAD}P",
}
_READ = {
    Belonging.XFRM: ("ip xfrm state list src 203.0.113.1; ip xfrm policy list src 203.0.113.1/32"),
    Belonging.NFTABLES: "nft list table inet others",
    Belonging.CHARON: (
        "swanctl --list-conns --uri unix:///run/charon.vici"
        " | awk '/^[^ ]/ { ours = /^others:/ } ours'"
    ),
}


async def put(
    running: Running, names: Sequence[str], which: frozenset[Belonging] = frozenset(Belonging)
) -> None:
    """Put these on nodes."""
    script = "\n".join(_PUT[one] for one in Belonging if one in which)
    if script:
        await asyncio.gather(*(running.remote(name).check(f"set -e\n{script}") for name in names))


async def read(running: Running, names: Sequence[str]) -> dict[tuple[str, Belonging], str]:
    """What of it nodes have: texts to compare."""
    keys = [(name, one) for name in names for one in Belonging]
    outputs = await asyncio.gather(*(running.remote(name).run(_READ[one]) for name, one in keys))
    return {key: done.stdout for key, done in zip(keys, outputs, strict=True)}


def changes(
    before: dict[tuple[str, Belonging], str], after: dict[tuple[str, Belonging], str]
) -> list[str]:
    """What differs, or was not there to be compared, as sentences; empty if all is as it was."""
    found = [
        f"{name}: no {one.value} of others was there" for (name, one), t in before.items() if not t
    ]
    return found + [
        f"{name}: the {one.value} of others changed: {text!r} -> {after.get((name, one))!r}"
        for (name, one), text in before.items()
        if after.get((name, one)) != text
    ]
