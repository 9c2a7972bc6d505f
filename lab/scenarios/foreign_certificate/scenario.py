"""A node shows its peers a certificate of its own name that another authority signed."""

from lab.daemons import signal_charon
from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage

TITLE = "A peer with a certificate of another authority"
NODES = 3
_HOLD_SECONDS = 15.0
_STATE = "/var/lib/geneveil"
_FILES = "node.key node.crt trust-bundle.pem"
_CURVE = "ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
_MAKE = f"""
set -e
rm -rf /run/own /run/foreign; mkdir /run/own /run/foreign; cd /run/foreign
for f in {_FILES}; do cp -p {_STATE}/$f /run/own/; done
openssl req -x509 -newkey {_CURVE} -keyout ca.key -out trust-bundle.pem -days 99 -subj /CN=foreign
openssl req -newkey {_CURVE} -keyout node.key -out node.csr -subj /CN=node1
echo subjectAltName=DNS:node1 > names
openssl x509 -req -in node.csr -CA trust-bundle.pem -CAkey ca.key -CAcreateserial -days 99 \\
    -extfile names -out node.crt
for f in {_FILES}; do cp $f {_STATE}/.new && mv {_STATE}/.new {_STATE}/$f; done
"""
_RESTORE = (
    f"for f in {_FILES}; do cp -p /run/own/$f {_STATE}/.new && mv {_STATE}/.new {_STATE}/$f; done"
)


async def _exchange(stage: Stage) -> None:
    await stage.running.remote("node1").check(_MAKE)
    await signal_charon(stage, "node1", "TERM")  # it takes its SAs with it and must prove itself


async def _restore(stage: Stage) -> None:
    for peer in ("node2", "node3"):
        found = await stage.status(peer)
        states = {one["chassis"]: one["state"] for one in found["peers"]}
        assert states["node1"] != "up", f"{peer} believed a certificate of another authority"
    await stage.running.remote("node1").check(_RESTORE)


FAULTS = (
    Fault(
        "foreign_certificate",
        "trust: a peer with a certificate of another authority",
        _exchange,
        _restore,
        touches=("node1",),
        hold_seconds=_HOLD_SECONDS,
        says=codes(["node1", "node2", "node3"], "peer-down"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=40.0,
        takes=frozenset({Belonging.CHARON}),
    ),
)
