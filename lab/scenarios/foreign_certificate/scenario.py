"""A node shows its peers a certificate that is not its own; only its peers can tell.

Its own agent and charon are made to believe it: what keeps the pair down is the peer's check.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from geneveil.model.connection import ESP_PROPOSALS, IKE_PROPOSALS
from lab.daemons import renew_agent, signal_agent, signal_charon
from lab.deadline import wait_until
from lab.fault import Belonging, Fault, Keeps, Step, codes
from lab.stage import Stage

TITLE = "A peer with a certificate of another authority, or of another chassis"
NODES = 3
_HOLD_SECONDS = 15.0
_STATE = "/var/lib/geneveil"
_FILES = "node.key node.crt trust-bundle.pem"
_PEERS = ("node2", "node3")
_REFUSALS = "no issuer certificate|no trusted .* public key|signature validation failed"
_CHARON_PID = "cat /run/charon-systemd.pid"
_CURVE = "ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# The bundle holds both authorities: node1 goes on believing its peers.
_MAKE = f"""
set -e
rm -rf /run/own /run/foreign; mkdir /run/own /run/foreign; cd /run/foreign
for f in {_FILES}; do cp -p {_STATE}/$f /run/own/; done
openssl req -x509 -newkey {_CURVE} -keyout ca.key -out ca.pem -days 99 -subj /CN=foreign
openssl req -newkey {_CURVE} -keyout node.key -out node.csr -subj /CN=NAME
echo subjectAltName=DNS:NAME > names
openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 99 \\
    -extfile names -out node.crt
cat {_STATE}/trust-bundle.pem ca.pem > trust-bundle.pem
for f in {_FILES}; do cp $f {_STATE}/.new && mv {_STATE}/.new {_STATE}/$f; done
"""
_RESTORE = (
    f"for f in {_FILES}; do cp -p /run/own/$f {_STATE}/.new && mv {_STATE}/.new {_STATE}/$f; done"
)
# What the agent would load, but with key and certificate of somebody else: by hand, since the agent
# refuses to. See geneveil.ike.wire for the fields.
_PRESENT = """
import json, pathlib, socket, sys, vici
options = json.loads(sys.argv[1])
link = socket.socket(socket.AF_UNIX)
link.connect("/run/charon.vici")
session = vici.Session(link)
stolen = pathlib.Path("/run/stolen")
session.clear_creds()
session.load_key({"type": "any", "data": (stolen / "node.key").read_text()})
session.load_cert({"type": "x509", "flag": "CA", "data": (stolen / "ca.pem").read_text()})
for peer, address in options["peers"].items():
    name = f"borrowed-{peer}"
    session.load_conn({name: {
        "version": "2", "local_addrs": [options["address"]], "remote_addrs": [address],
        "proposals": options["ike"], "mobike": "no", "send_cert": "always", "keyingtries": "1",
        "local": {"auth": "pubkey", "id": "fqdn:" + options["name"],
                  "certs": [(stolen / "node.crt").read_text()]},
        "remote": {"auth": "pubkey", "id": "fqdn:" + peer},
        "children": {"out": {
            "mode": "transport", "local_ts": [f"{options['address']}/32[udp]"],
            "remote_ts": [f"{address}/32[udp/6081]"], "esp_proposals": options["esp"],
        }},
    }})
    try:
        list(session.initiate({"ike": name, "child": "out", "timeout": "5000"}))
    except vici.exception.CommandException as error:
        print(peer, "refused:", error)
    else:
        print(peer, "accepted")
"""


async def _show_forged(stage: Stage) -> None:
    offsets = _log_sizes(stage)
    await stage.remote("node1").check(_MAKE.replace("NAME", stage.at("node1")))
    await signal_charon(stage, "node1", "TERM")  # it takes its SAs with it and must prove itself
    await _await_refusals(stage, offsets)


async def _restore_own(stage: Stage) -> None:
    await _check_down(stage)
    await stage.remote("node1").check(_RESTORE)


async def _show_borrowed(stage: Stage) -> None:
    """node3's genuine key and certificate, shown as node1's."""
    offsets = _log_sizes(stage)
    await signal_agent(stage, "node1", "KILL")
    await _renew_charon(stage)
    await _put_stolen(stage)
    options = {
        "name": stage.at("node1"),
        "address": str(stage.node("node1").underlay.ip),
        "peers": {stage.at(peer): str(stage.node(peer).underlay.ip) for peer in _PEERS},
        "ike": list(IKE_PROPOSALS),
        "esp": list(ESP_PROPOSALS),
    }
    said = await stage.remote("node1").check(
        f"PYTHONPATH=/opt/site python3 -P - {shlex.quote(json.dumps(options))} <<'P'{_PRESENT}P"
    )
    assert "accepted" not in said, said
    assert said.count("refused") == len(_PEERS), said
    await _await_refusals(stage, offsets)


async def _return_borrowed(stage: Stage) -> None:
    await _check_down(stage)
    await stage.remote("node1").check("rm -r /run/stolen")
    await _renew_charon(stage)
    await renew_agent(stage, "node1")


async def _put_stolen(stage: Stage) -> None:
    own = stage.running.layout.disk(stage.at("node3")) / "geneveil"
    remote = stage.remote("node1")
    await remote.check("rm -rf /run/stolen; mkdir -m 700 /run/stolen")
    await remote.check(f"cp {_STATE}/trust-bundle.pem /run/stolen/ca.pem")
    for name in ("node.key", "node.crt"):
        await remote.check(f"cat > /run/stolen/{name}", stdin=(own / name).read_text())


async def _renew_charon(stage: Stage) -> None:
    """It ends, with all SAs and all that was loaded, and answers again."""
    remote = stage.remote("node1")
    before = await remote.check(_CHARON_PID)
    await signal_charon(stage, "node1", "TERM")

    async def is_back() -> bool:
        if await remote.check(_CHARON_PID) == before:
            return False
        done = await remote.run("swanctl --stats --uri unix:///run/charon.vici")
        return done.status == 0

    await wait_until(is_back, f"{stage.at('node1')}'s charon to be back", 20, poll_seconds=0.1)


def _log(stage: Stage, part: str) -> Path:
    return stage.running.layout.disk(stage.at(part)) / "log" / "charon.log"


def _log_sizes(stage: Stage) -> dict[str, int]:
    return {part: _log(stage, part).stat().st_size for part in ("node1", *_PEERS)}


def _has_refused(stage: Stage, part: str, whom: str, offset: int) -> bool:
    """charon of a node did not find good what another showed: by its own log, from an offset on."""
    with _log(stage, part).open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    connection = rf"<(?:geneveil|borrowed)-{stage.at(whom)}[-|][^>]*>"
    return re.search(f"{connection} (?:{_REFUSALS})", text) is not None


async def _await_refusals(stage: Stage, offsets: Mapping[str, int]) -> None:
    """Each peer refused node1, and node1 none of them."""
    for peer in _PEERS:

        async def is_refused(peer: str = peer) -> bool:
            return _has_refused(stage, peer, "node1", offsets[peer])

        await wait_until(
            is_refused, f"{stage.at(peer)}'s charon to refuse it", 30, poll_seconds=0.3
        )
        refused_too = _has_refused(stage, "node1", peer, offsets["node1"])
        assert not refused_too, f"{stage.at('node1')} itself refused {stage.at(peer)}"


async def _check_down(stage: Stage) -> None:
    name = stage.at("node1")
    for peer in (stage.at(part) for part in _PEERS):
        states = {one["chassis"]: one["state"] for one in (await stage.status(peer))["peers"]}
        assert states[name] != "up", f"{peer} believed a certificate that is not {name}'s"


def _fault(name: str, title: str, inject: Step, heal: Step, who: tuple[str, ...]) -> Fault:
    return Fault(
        name,
        f"trust: a peer with a {title}",
        inject,
        heal,
        touches=("node1",),
        hold_seconds=_HOLD_SECONDS,
        says=codes(who, "peer-down"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=40.0,
        takes=frozenset({Belonging.CHARON}),
        is_long=True,
    )


FAULTS = (
    _fault(
        "foreign_certificate",
        "certificate of another authority",
        _show_forged,
        _restore_own,
        ("node1", *_PEERS),
    ),
    # node1's own agent is dead meanwhile: it would not let charon show such a thing.
    _fault(
        "borrowed_certificate",
        "genuine certificate of another chassis",
        _show_borrowed,
        _return_borrowed,
        _PEERS,
    ),
)
