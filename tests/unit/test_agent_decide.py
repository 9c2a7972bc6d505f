"""One turn of the agent as values: picture in, actions, findings and status out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geneveil.agent.apply import describe
from geneveil.agent.config import AgentConfig
from geneveil.agent.decide import AgentMemory, Decision, decide
from geneveil.agent.observe import Failures, Observation
from geneveil.agent.peers import CIPHER_WORD, unproven_reason
from geneveil.agent.policies import UNSPECIFIED
from geneveil.agent.rotation.confirm import confirm
from geneveil.agent.rotation.watch import WatchRecord
from geneveil.agent.status import build_status
from geneveil.agent.trust import TrustFiles
from geneveil.guard.wire import ABSENT
from geneveil.mesh.actions import (
    ApplyBolt,
    ApplyGuard,
    Initiate,
    LoadConnection,
    LoadCrl,
    LoadIdentity,
    TerminateIkeSa,
    UnloadConnection,
)
from geneveil.model.cluster import CalendarSpan, ClusterSettings, Encapsulation, KeyType, Mode
from geneveil.model.connection import ChildSa, Connection, IkeSa, ObservedConnection, ObservedIke
from geneveil.model.errors import (
    DaemonError,
    KernelError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally
from geneveil.model.health import Finding, Severity, carry_since
from geneveil.model.node_status import PeerState, parse_status, status_document
from geneveil.model.tunnel import OvsSnapshot, Tunnel
from geneveil.model.xfrm import (
    XfrmAlgorithm,
    XfrmDirection,
    XfrmLifetime,
    XfrmMode,
    XfrmPolicy,
    XfrmSelector,
    XfrmState,
    XfrmTemplate,
)
from geneveil.pki.authority import encode_certificate, make_authority, sign_node
from geneveil.pki.crl import RevocationReason, RevokedCertificate, encode_crl, make_crl
from geneveil.pki.keys import encode_key, make_key

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KEY = make_key(KeyType.ECDSA_P256)
CA = make_authority("prod", make_key(KeyType.ECDSA_P256), CalendarSpan(120), NOW, bytes(20))
LEAF = sign_node(CA, KEY.public_key(), "node1", "prod", CalendarSpan(60), NOW, bytes(range(20)))
FILES = TrustFiles(encode_key(KEY), encode_certificate(LEAF), encode_certificate(CA.certificate))

TUNNEL = Tunnel("ovn-2", "192.0.2.2", "192.0.2.1", "node2")
CONNECTION = Connection("node1", "node2", "192.0.2.1", "192.0.2.2")
SNAPSHOT = OvsSnapshot("node1", ("192.0.2.1",), (TUNNEL,))
EMPTY_IKE = ObservedIke("6.0.1", 1, (), (), frozenset(), frozenset())
GUARD = ObservedGuard(True, (6081,), {GuardCounter.CLEARTEXT_OUT: Tally(3, 300)})
SETTINGS = ClusterSettings("prod", Mode.FULL)

SEEN = Observation(
    config=AgentConfig(mode=Mode.FULL),
    now=NOW,
    now_seconds=1000.0,
    ovs=SNAPSHOT,
    ike=EMPTY_IKE,
    guard=GUARD,
    states=(),
    policies=(),
    trust_files=FILES,
    settings=SETTINGS,
    enrolment=None,
    bolt=GuardSpec((6081,)),
)


def child(name: str, spi_in: int, spi_out: int) -> ChildSa:
    return ChildSa(
        name, spi_in, "INSTALLED", "TRANSPORT", spi_in, spi_out, "AES_GCM_16", 256, True, False,
        100, 200, 1, 2, 30, 3000,
    )  # fmt: skip


def state(destination: str, spi: int) -> XfrmState:
    return XfrmState(
        source="192.0.2.9",
        destination=destination,
        spi=spi,
        protocol=50,
        reqid=1,
        mode=XfrmMode.TRANSPORT,
        selector=XfrmSelector("192.0.2.1", 32, "192.0.2.2", 32, 17, 0, 0, 6081, 0xFFFF),
        aead=XfrmAlgorithm("rfc4106(gcm(aes))", 288, 128),
        encryption=None,
        authentication=None,
        esn=True,
        replay_window_packets=1024,
        encapsulation=None,
        lifetime=XfrmLifetime(3000, 3600),
        added_at_seconds=0,
        bytes=0,
        packets=0,
        replayed_packets=0,
        failed_packets=0,
    )


SA = IkeSa(
    CONNECTION.name, 1, "ESTABLISHED", True, "192.0.2.1", "192.0.2.2", "node2", 40, 9000,
    (child("in", 0x11, 0x12), child("out", 0x21, 0x22)),
)  # fmt: skip
UP_IKE = replace(EMPTY_IKE, sas=(SA,))
CARRYING = (state("192.0.2.2", 0x22), state("192.0.2.1", 0x11))
TEMPLATE = XfrmTemplate(
    UNSPECIFIED[0], UNSPECIFIED[0], 0, 50, 1, XfrmMode.TRANSPORT, optional=False
)
OUT_POLICY = XfrmPolicy(
    XfrmSelector("192.0.2.1", 32, "192.0.2.2", 32, 17, 0, 0, 6081, 0xFFFF),
    XfrmDirection.OUT, 366911, 9, True, (TEMPLATE,),
)  # fmt: skip
IN_POLICY = XfrmPolicy(
    XfrmSelector("192.0.2.2", 32, "192.0.2.1", 32, 17, 0, 0, 6081, 0xFFFF),
    XfrmDirection.IN, 366911, 8, True, (TEMPLATE,),
)  # fmt: skip
UP = replace(SEEN, ike=UP_IKE, states=CARRYING, policies=(OUT_POLICY, IN_POLICY))


def turn(seen: Observation, memory: AgentMemory | None = None) -> Decision:
    return decide(seen, memory or AgentMemory(), ())


def codes(decision: Decision) -> list[str]:
    return [finding.code for finding in decision.findings]


def kinds(decision: Decision) -> list[type]:
    return [type(action) for action in decision.actions]


def test_a_first_turn_sets_up_everything_guard_first() -> None:
    decision = turn(replace(SEEN, guard=ABSENT))
    assert kinds(decision)[:3] == [ApplyGuard, LoadIdentity, LoadConnection]
    assert codes(decision) == ["guard-missing", "peer-down"]


def test_the_bolt_is_held_for_what_the_guard_covers() -> None:
    wide = replace(SNAPSHOT, tunnels=(replace(SNAPSHOT.tunnels[0], dst_port="7000"),))
    assert ApplyBolt not in kinds(turn(SEEN))
    assert ApplyBolt(GuardSpec((6081,))) in turn(replace(SEEN, bolt=None)).actions
    assert ApplyBolt(GuardSpec((6081, 7000))) in turn(replace(SEEN, ovs=wide)).actions


def test_a_pair_that_is_up_is_shown_with_the_sas_that_carry() -> None:
    decision = turn(UP)
    (peer,) = decision.peers
    assert peer.state is PeerState.UP
    assert peer.cipher == CIPHER_WORD
    assert (peer.spi_out, peer.spi_in) == (0x22, 0x11)
    assert (peer.bytes_out, peer.bytes_in) == (200, 100)
    assert peer.since == NOW - timedelta(seconds=40)  # older than this agent
    assert peer.next_rekey == NOW + timedelta(seconds=3000)
    assert codes(decision) == []


WEAK = {
    "128-bit key": (
        replace(CARRYING[0], aead=XfrmAlgorithm("rfc4106(gcm(aes))", 160, 128)),
        "128 bits, not 256",
    ),
    "short ICV": (
        replace(CARRYING[0], aead=XfrmAlgorithm("rfc4106(gcm(aes))", 288, 64)),
        "ICV has 8 bytes, not 16",
    ),
    "no encryption": (
        replace(CARRYING[0], aead=None, encryption=XfrmAlgorithm("ecb(cipher_null)", 0, 0)),
        "ecb(cipher_null)",
    ),
    "nothing at all": (replace(CARRYING[0], aead=None), "cipher is none"),
    "tunnel mode": (replace(CARRYING[0], mode=XfrmMode.TUNNEL), "tunnel, not transport"),
    "no ESN": (replace(CARRYING[0], esn=False), "extended sequence numbers"),
    "another SPI": (replace(CARRYING[0], spi=0x99), "not in the kernel"),
    "another destination": (replace(CARRYING[0], destination="192.0.2.7"), "not in the kernel"),
}


@pytest.mark.parametrize(("bad", "complaint"), WEAK.values(), ids=WEAK.keys())
def test_what_charon_says_is_checked_in_the_kernel(bad: XfrmState, complaint: str) -> None:
    decision = turn(replace(UP, states=(bad, CARRYING[1])))
    assert decision.peers[0].state is PeerState.UNPROVEN
    assert decision.peers[0].cipher != CIPHER_WORD
    (finding,) = decision.findings
    assert finding.code == "peer-unproven"
    assert complaint in finding.what
    assert unproven_reason(CARRYING[0]) == ""


def test_the_sas_of_every_port_are_looked_for_in_the_kernel() -> None:
    second = replace(TUNNEL, interface="ovn-2b", dst_port="7000")
    newer = replace(child("out-7000", 0x41, 0x42), installed_seconds=20)
    children = (*SA.children, child("in-7000", 0x31, 0x32), newer)
    of_port = [
        replace(one, selector=replace(one.selector, destination_port=7000))
        for one in (OUT_POLICY, IN_POLICY)
    ]
    both = replace(
        UP,
        config=AgentConfig(mode=Mode.FULL, geneve_ports=(6081, 7000)),
        ovs=replace(SNAPSHOT, tunnels=(TUNNEL, second)),
        ike=replace(UP_IKE, sas=(replace(SA, children=children),)),
        states=(*CARRYING, state("192.0.2.2", 0x42), state("192.0.2.1", 0x31)),
        policies=(OUT_POLICY, IN_POLICY, *of_port),
    )
    assert turn(both).peers[0].state is PeerState.UP
    assert turn(both).peers[0].spi_out == 0x22
    for lost in both.states:  # type: ignore[union-attr]
        left = tuple(one for one in both.states if one is not lost)  # type: ignore[union-attr]
        decision = turn(replace(both, states=left))
        assert decision.peers[0].state is PeerState.UNPROVEN
        assert f"{lost.spi:08x}: it is not in the kernel" in decision.findings[0].what


def test_a_kernel_that_cannot_be_read_proves_nothing() -> None:
    decision = turn(replace(UP, states=KernelError("cannot read")))
    assert decision.peers[0].state is PeerState.UNPROVEN
    assert "kernel-unreadable" in codes(decision)


def test_an_sa_that_is_missed_once_is_doubted_and_twice_is_missing() -> None:
    first = turn(UP)
    assert first.peers[0].state is PeerState.UP
    second = turn(replace(UP, states=()), first.memory)
    assert second.peers[0].state is PeerState.UP
    third = turn(replace(UP, states=()), second.memory)
    assert third.peers[0].state is PeerState.UNPROVEN
    assert turn(UP, second.memory).peers[0].state is PeerState.UP


LACKING: dict[str, tuple[XfrmPolicy, ...]] = {
    "none": (),
    "the incoming": (OUT_POLICY,),
    "the outgoing": (IN_POLICY,),
    "another port": (
        replace(OUT_POLICY, selector=replace(OUT_POLICY.selector, destination_port=6082)),
        IN_POLICY,
    ),
    "one port only as source": (
        replace(OUT_POLICY, selector=replace(OUT_POLICY.selector, source_port_mask=0xFFFF)),
        IN_POLICY,
    ),
    "another peer": (
        replace(OUT_POLICY, selector=replace(OUT_POLICY.selector, destination="192.0.2.3")),
        IN_POLICY,
    ),
    "tunnel mode": (
        replace(OUT_POLICY, templates=(replace(TEMPLATE, mode=XfrmMode.TUNNEL),)),
        IN_POLICY,
    ),
    "optional": (replace(OUT_POLICY, templates=(replace(TEMPLATE, optional=True),)), IN_POLICY),
    "authentication only": (
        replace(OUT_POLICY, templates=(replace(TEMPLATE, protocol=51),)),
        IN_POLICY,
    ),
    "no template": (replace(OUT_POLICY, templates=()), IN_POLICY),
    "blocks": (replace(OUT_POLICY, allows=False), IN_POLICY),
}


@pytest.mark.parametrize("policies", LACKING.values(), ids=LACKING.keys())
def test_a_pair_without_its_policies_is_not_up(policies: tuple[XfrmPolicy, ...]) -> None:
    decision = turn(replace(UP, policies=policies))
    assert decision.peers[0].state is PeerState.UNPROVEN
    assert codes(decision) == ["peer-unproven"]
    assert "no policy for" in decision.findings[0].what


GONE = {
    "states": replace(UP, states=()),
    "a state": replace(UP, states=CARRYING[:1]),
    "policies": replace(UP, policies=()),
    "a state but for its place": replace(UP, states=(replace(CARRYING[0], aead=None), CARRYING[1])),
}


def repairs(decision: Decision) -> list[TerminateIkeSa]:
    return [a for a in decision.actions if isinstance(a, TerminateIkeSa)]


@pytest.mark.parametrize("gone", GONE.values(), ids=GONE.keys())
def test_what_the_kernel_lacks_twice_is_made_anew(gone: Observation) -> None:
    first = turn(gone, turn(UP).memory)
    assert repairs(first) == []
    second = turn(replace(gone, now_seconds=1002.0), first.memory)
    (close,) = repairs(second)
    assert (close.unique_id, close.at_once, close.repairs) == (SA.unique_id, True, True)
    assert second.peers[0].state is PeerState.UNPROVEN
    back = turn(replace(UP, now_seconds=1002.0), first.memory)
    assert repairs(back) == []


def test_what_cannot_be_read_is_no_reason_to_repair() -> None:
    unreadable = KernelError("cannot read")
    for seen in (replace(UP, states=unreadable), replace(UP, policies=unreadable)):
        memory = turn(seen).memory
        for _ in range(3):
            decision = turn(seen, memory)
            memory = decision.memory
            assert repairs(decision) == []
            assert decision.peers[0].state is PeerState.UNPROVEN
            assert "kernel-unreadable" in codes(decision)


def test_without_an_identity_nothing_is_closed_to_repair_it() -> None:
    gone = replace(UP, policies=(), trust_files=TrustFiles(None, None, None))
    assert repairs(turn(gone, turn(gone).memory)) == []


def test_while_a_child_is_replaced_the_one_in_the_kernel_counts() -> None:
    coming = replace(child("out", 0x31, 0x32), installed_seconds=0)
    rekeyed = replace(SA, children=(*SA.children, coming))
    (peer,) = turn(replace(UP, ike=replace(UP_IKE, sas=(rekeyed,)))).peers
    assert (peer.state, peer.spi_out) == (PeerState.UP, 0x22)
    with_both = (*CARRYING, state("192.0.2.2", 0x32))
    (peer,) = turn(replace(UP, ike=replace(UP_IKE, sas=(rekeyed,)), states=with_both)).peers
    assert peer.spi_out == 0x32


def test_while_ovsdb_is_away_the_last_complete_picture_holds() -> None:
    first = turn(UP)
    away = replace(UP, ovs=DaemonError("Open vSwitch is away"))
    decision = turn(away, first.memory)
    assert decision.plan is not None
    assert decision.plan.connections == (CONNECTION,)
    assert codes(decision) == ["ovsdb-away"]


def test_before_the_first_picture_nothing_is_taken_away() -> None:
    decision = turn(replace(UP, ovs=DaemonError("Open vSwitch is away")))
    assert decision.actions == ()
    assert decision.guard == GuardSpec((6081,))


@pytest.mark.parametrize("guard", [ABSENT, replace(GUARD, ports=None), KernelError("unreadable")])
def test_a_guard_that_does_not_stand_is_put_back_whatever_else_is_wrong(guard: Any) -> None:
    broken = DaemonError("away")
    decision = turn(replace(SEEN, guard=guard, ovs=broken, ike=broken, states=KernelError("no")))
    assert decision.actions == (ApplyGuard(GuardSpec((6081,))),)
    (first,) = [c for c in codes(decision) if c.startswith("guard-")]
    assert first in ("guard-missing", "guard-altered", "guard-unreadable")


def test_while_charon_is_away_peers_are_unknown_and_that_is_said_once() -> None:
    decision = turn(replace(UP, ike=DaemonError("charon is away", remedy="start it")))
    assert [peer.state for peer in decision.peers] == [PeerState.UNKNOWN]
    assert codes(decision) == ["charon-away"]
    assert decision.actions == ()


TRUST: dict[str, tuple[TrustFiles, str]] = {
    "not enrolled": (TrustFiles(None, None, None), "not-enrolled"),
    "key made, not enrolled": (replace(FILES, certificate=None, bundle=None), "not-enrolled"),
    "key missing": (replace(FILES, key=None), "trust-incomplete"),
    "bundle missing": (replace(FILES, bundle=None), "trust-incomplete"),
    "unreadable": (replace(FILES, problem=TrustError("denied")), "trust-unreadable"),
    "key not PEM": (replace(FILES, key=b"hello"), "trust-unusable"),
    "key of another": (
        replace(FILES, key=encode_key(make_key(KeyType.ECDSA_P256))),
        "trust-unusable",
    ),
    "certificate truncated": (
        replace(FILES, certificate=(FILES.certificate or b"")[:90]),
        "trust-unusable",
    ),
    "bundle empty": (replace(FILES, bundle=b""), "trust-unusable"),
}


@pytest.mark.parametrize(("files", "code"), TRUST.values(), ids=TRUST.keys())
def test_without_usable_trust_nothing_is_begun_and_what_stands_stays(
    files: TrustFiles, code: str
) -> None:
    decision = turn(replace(SEEN, trust_files=files))
    assert code in codes(decision)
    assert decision.actions == ()
    standing = turn(replace(UP, trust_files=files))
    assert standing.actions == ()
    assert standing.peers[0].state is PeerState.UP


@pytest.mark.parametrize(
    ("years", "code"),
    [(-1, "certificate-not-yet-valid"), (5.1, "certificate-expired")],
    ids=["not yet", "expired"],
)
def test_a_certificate_out_of_its_time_is_named(years: float, code: str) -> None:
    seen = replace(SEEN, now=NOW + timedelta(days=365.25 * years))
    decision = turn(seen)
    assert decision.trust.identity is None
    assert any(code == finding.code for finding in decision.findings)


def test_a_certificate_that_is_due_is_used_and_named_once_its_end_is_near() -> None:
    due = turn(replace(UP, now=NOW + timedelta(days=365.25 * 4.6)))
    assert (due.must_renew, due.trust.identity is not None, codes(due)) == (True, True, [])
    late = turn(replace(UP, now=LEAF.not_valid_after_utc - timedelta(days=29)))
    assert (late.must_renew, late.trust.identity is not None) == (True, True)
    assert codes(late) == ["renewal-due"]
    failed = OperatorUnreachableError("the operator does not answer")
    seen = replace(UP, now=due_date(), failures=Failures(renewal=failed))
    (finding,) = turn(seen).findings
    assert (finding.code, finding.severity) == ("renewal-failing", Severity.INFO)
    ended = turn(replace(UP, now=LEAF.not_valid_after_utc + timedelta(seconds=1)))
    assert (ended.must_renew, ended.trust.identity) == (False, None)
    assert codes(ended) == ["certificate-expired"]
    assert "geneveil operator token" in ended.findings[0].remedy


def test_what_the_operator_said_holds_while_the_record_is_damaged_or_gone() -> None:
    said = replace(UP, record=WatchRecord(3, frozenset({"node2"}), heard_at=NOW))
    memory = turn(said).memory
    assert memory.record == said.record
    damaged = turn(replace(UP, record=TrustError("watch.json is damaged")), memory)
    gone = turn(replace(UP, record=WatchRecord()), memory)
    for decision in (damaged, gone):
        assert decision.plan is not None
        assert decision.plan.connections == ()
        assert "peer-revoked" in codes(decision)
        assert [a.unique_id for a in decision.actions if isinstance(a, TerminateIkeSa)] == [1]
    assert "watch-unreadable" in codes(damaged)
    again = turn(replace(UP, record=WatchRecord(4, heard_at=NOW)), damaged.memory)
    assert codes(again) == []


@pytest.mark.parametrize(
    "said",
    [WatchRecord(3, frozenset({"NODE2"})), WatchRecord(3, expired_chassis=frozenset({"node2"}))],
)
def test_a_closed_peer_is_closed_while_no_tunnels_are_known(said: WatchRecord) -> None:
    """As for an agent that starts while Open vSwitch's database is away."""
    loaded = (
        ObservedConnection(CONNECTION.name, ("192.0.2.1",), ("192.0.2.2",), "node2", ("in", "out")),
        ObservedConnection("vpn", ("192.0.2.1",), ("192.0.2.2",), "node2", ("net",)),
    )
    others = (
        replace(
            SA, connection="geneveil-node3-192.0.2.1-192.0.2.3", unique_id=2, remote_id="node3"
        ),
        replace(SA, connection="vpn", unique_id=3),
    )
    ike = replace(UP_IKE, connections=loaded, sas=(SA, *others))
    blind = replace(UP, ovs=DaemonError("Open vSwitch is away"), ike=ike)
    assert [a for a in turn(blind).actions if isinstance(a, TerminateIkeSa)] == []
    actions = turn(replace(blind, record=said)).actions
    assert [a.unique_id for a in actions if isinstance(a, TerminateIkeSa)] == [1]
    assert [a.name for a in actions if isinstance(a, UnloadConnection)] == [CONNECTION.name]


def test_the_operator_is_heard_before_open_vswitch_is() -> None:
    blind = replace(UP, ovs=DaemonError("Open vSwitch is away"))
    decision = turn(blind)
    asked = confirm(blind, decision)
    assert asked is not None
    assert asked.chassis == decision.chassis == "node1"
    assert (decision.plan, decision.trust.identity is None) == (None, False)
    for files in (replace(FILES, certificate=None), replace(FILES, certificate=b"x")):
        nobody = replace(blind, trust_files=files)
        assert (turn(nobody).chassis, confirm(nobody, turn(nobody))) == ("", None)
    renamed = turn(replace(UP, ovs=replace(SNAPSHOT, system_id="node7")), decision.memory)
    assert renamed.chassis == "node7"  # what Open vSwitch says goes before


def test_of_thousands_that_were_revoked_those_are_named_that_have_a_tunnel() -> None:
    long_gone = frozenset(f"gone{number}" for number in range(2000))
    assert codes(turn(replace(UP, record=WatchRecord(3, long_gone, heard_at=NOW)))) == []
    decision = turn(replace(UP, record=WatchRecord(3, long_gone | {"NODE2"}, heard_at=NOW)))
    assert [(f.code, f.subject) for f in decision.findings] == [("peer-revoked", "peer node2")]


def revoked(serial: str, number: int = 1) -> bytes:
    entry = RevokedCertificate(
        serial, NOW, NOW + timedelta(days=1), RevocationReason.KEY_COMPROMISE
    )
    return encode_crl(make_crl(CA, number, [entry], NOW))


@pytest.mark.parametrize("left", [None, b"", b"\n"])
def test_lists_that_were_read_hold_while_their_file_is_gone(left: bytes | None) -> None:
    """charon may be another one meanwhile, and would let in whoever was revoked."""
    first = turn(replace(SEEN, trust_files=replace(FILES, crls=revoked("1b" * 20))))
    later = turn(replace(SEEN, trust_files=replace(FILES, crls=left)), first.memory)
    assert "crls-unusable" in codes(later)
    assert later.trust.identity is not None
    assert [crl.serials for crl in later.trust.crls] == [{"1b" * 20}]
    assert LoadCrl in [type(action) for action in later.actions]
    assert "crls-unusable" not in codes(turn(replace(SEEN, trust_files=replace(FILES, crls=left))))


def test_lists_that_were_read_hold_while_their_file_is_damaged() -> None:
    listed = replace(SEEN, trust_files=replace(FILES, crls=revoked("1b" * 20)))
    first = turn(listed)
    damaged = replace(SEEN, trust_files=replace(FILES, crls=b"x" + revoked("1b" * 20)[:-9]))
    later = turn(damaged, first.memory)
    assert "crls-unusable" in codes(later)
    assert later.trust.identity is not None
    assert [crl.serials for crl in later.trust.crls] == [{"1b" * 20}]
    assert [type(a) for a in turn(damaged, later.memory).actions].count(LoadCrl) == 1
    own = replace(FILES, crls=revoked(f"{LEAF.serial_number:040x}"))
    shut = turn(replace(SEEN, trust_files=own))
    assert turn(damaged, shut.memory).trust.identity is None


def test_a_node_that_is_revoked_does_not_ask_for_another_certificate() -> None:
    due = replace(UP, now=due_date())
    refused = RefusedError("node-revoked", "no")
    told = turn(replace(due, failures=Failures(watch=refused)))
    assert (told.must_renew, told.is_refused, codes(told)) == (False, True, ["node-revoked"])
    serial = f"{LEAF.serial_number:040x}"
    listed = replace(FILES, crls=revoked(serial))
    shown = turn(replace(due, trust_files=listed))
    assert (shown.must_renew, shown.trust.identity) == (False, None)
    assert codes(shown) == ["certificate-revoked"]
    assert "put a new token" in shown.findings[0].remedy


def due_date() -> datetime:
    return NOW + timedelta(days=365.25 * 4.6)


def test_a_certificate_of_another_chassis_is_not_used() -> None:
    renamed = replace(SNAPSHOT, system_id="node7")
    decision = turn(replace(SEEN, ovs=renamed))
    assert decision.trust.identity is None
    assert "trust-unusable" in codes(decision)


def test_the_name_in_the_configuration_comes_before_that_of_open_vswitch() -> None:
    seen = replace(SEEN, config=AgentConfig(mode=Mode.FULL, chassis="node1"))
    renamed = replace(SNAPSHOT, system_id="node7")
    assert turn(replace(seen, ovs=renamed)).chassis == "node1"


def test_a_switch_without_a_name_is_named() -> None:
    decision = turn(replace(SEEN, ovs=replace(SNAPSHOT, system_id="")))
    assert codes(decision) == ["no-chassis-name"]
    assert decision.actions == ()


def test_the_clusters_encapsulation_and_ports_are_followed() -> None:
    settings = ClusterSettings("prod", Mode.FULL, Encapsulation.ALWAYS, (6081, 7000))
    decision = turn(replace(SEEN, settings=settings))
    assert decision.guard == GuardSpec((6081, 7000))
    assert decision.plan is not None
    assert decision.plan.connections[0].force_encapsulation


@pytest.mark.parametrize("lost", [None, TrustError("settings.json is damaged")])
def test_settings_that_are_lost_narrow_nothing(lost: TrustError | None) -> None:
    settings = ClusterSettings("prod", Mode.FULL, Encapsulation.ALWAYS, (6081, 7000))
    wide = replace(GUARD, ports=(6081, 7000))
    known = replace(SEEN, settings=settings, guard=wide)
    code = "settings-unreadable" if lost else "settings-missing"
    for memory in (turn(known).memory, AgentMemory()):  # lost while it runs; after a restart
        decision = turn(replace(known, settings=lost), memory)
        (finding,) = [f for f in decision.findings if f.code == code]
        assert finding.severity is Severity.ERROR
        assert decision.guard == GuardSpec((6081, 7000))
        assert decision.plan is not None
        assert decision.plan.connections[0].force_encapsulation
    standing = turn(replace(UP, settings=lost))
    assert standing.plan is not None
    assert not standing.plan.connections[0].force_encapsulation  # no SA is replaced for nothing
    unenrolled = replace(SEEN, settings=None, trust_files=TrustFiles(None, None, None))
    assert codes(turn(unenrolled)) == ["not-enrolled", "peer-down"]


def test_cleartext_that_goes_on_while_all_is_up_is_said_for_a_minute() -> None:
    def at(seconds: float, packets: int, seen: Observation = UP) -> Observation:
        counters = {GuardCounter.CLEARTEXT_OUT: Tally(packets, packets * 100)}
        return replace(seen, now_seconds=seconds, guard=replace(GUARD, counters=counters))

    first = turn(at(1000, 3))
    assert codes(first) == []  # it may be from before
    burst = turn(at(1002, 5), first.memory)
    assert codes(burst) == []  # it may be from a pair that was replaced
    assert codes(turn(at(1030, 5), burst.memory)) == []
    grown = turn(at(1006, 7), burst.memory)
    (finding,) = grown.findings
    assert (finding.code, finding.severity) == ("cleartext-out-grows", Severity.WARNING)
    assert "cleartext_out grew by 4" in finding.what
    still = turn(at(1065, 7), grown.memory)
    assert codes(still) == ["cleartext-out-grows"]
    assert codes(turn(at(1067, 7), still.memory)) == []
    anew = turn(at(1004, 0), first.memory)
    assert codes(anew) == []
    down = turn(at(1002, 7, replace(UP, ike=EMPTY_IKE)), first.memory)
    assert "cleartext-out-grows" not in codes(down)
    up_again = turn(at(1004, 9), down.memory)
    # Down twice within a minute: what each time was dropped before it came up is no riddle.
    down_again = turn(at(1012, 11, replace(UP, ike=EMPTY_IKE)), up_again.memory)
    for decision in (up_again, turn(at(1014, 13), down_again.memory)):
        assert "cleartext-out-grows" not in codes(decision)


def test_geneve_that_nobody_takes_is_said_when_open_vswitch_has_had_its_time() -> None:
    def at(seconds: float, packets: int) -> Observation:
        counters = {GuardCounter.QUOTED: Tally(packets, packets * 590)}
        return replace(UP, now_seconds=seconds, guard=replace(GUARD, counters=counters))

    begun = turn(at(1002, 2), turn(at(1000, 0)).memory)
    restarted = turn(at(1015, 9), begun.memory)
    assert codes(restarted) == []
    (finding,) = turn(at(1033, 30), restarted.memory).findings
    assert (finding.code, finding.severity) == ("geneve-not-taken", Severity.WARNING)
    assert "quoted grew by 30" in finding.what
    assert "ovs-vswitchd" in finding.remedy


def test_cleartext_to_a_revoked_peer_is_no_riddle() -> None:
    other = replace(TUNNEL, interface="ovn-3", remote_ip="192.0.2.3", remote_name="node3")
    both = replace(SNAPSHOT, tunnels=(TUNNEL, other))

    def at(seconds: float, packets: int) -> Observation:
        counters = {GuardCounter.CLEARTEXT_OUT: Tally(packets, packets * 100)}
        record = WatchRecord(revoked_chassis=frozenset({"node3"}))
        guard = replace(GUARD, counters=counters)
        return replace(UP, ovs=both, now_seconds=seconds, guard=guard, record=record)

    first = turn(at(1000, 3))
    then = turn(at(1002, 7), first.memory)
    assert [peer.state for peer in then.peers] == [PeerState.UP]
    assert codes(then) == ["peer-revoked"]
    assert "geneveil operator token node3 --readmit" in then.findings[0].remedy


def test_a_cluster_with_ipsec_off_is_contradicted_aloud_and_encrypted_all_the_same() -> None:
    decision = turn(replace(UP, settings=ClusterSettings("prod", Mode.DISABLED)))
    assert codes(decision) == ["cluster-mode-disabled"]
    assert decision.peers[0].state is PeerState.UP


def test_an_unchanged_key_is_not_parsed_at_every_turn_but_soon_again() -> None:
    first = turn(UP)
    second = turn(replace(UP, now_seconds=1010.0), first.memory)
    assert second.trust is first.trust
    late = replace(UP, now_seconds=1031.0, now=NOW + timedelta(days=4000))
    assert turn(late, second.memory).trust.identity is None


def test_no_key_shows_in_what_may_be_logged() -> None:
    decision = turn(SEEN)
    secret = encode_key(KEY).decode().splitlines()[1]
    shown = repr(decision) + repr(SEEN) + repr([describe(a) for a in decision.actions])
    assert secret not in shown
    assert "PRIVATE" not in shown


def test_the_status_survives_its_json() -> None:
    decision = turn(replace(UP, enrolment=Finding("x", Severity.WARNING, "s", "w", "r")))
    health = carry_since((), decision.findings, NOW)
    status = build_status(UP, decision, health, 17)
    assert parse_status(status_document(status)) == status
    assert not status.is_well
    well = build_status(UP, turn(UP), (), 17)
    assert well.is_well
    assert well.summary == "all is well: 1 of 1 peers encrypted"
    assert well.staleness(NOW + timedelta(seconds=5), agent_lives=True) == ""
    assert "is stuck" in well.staleness(NOW + timedelta(seconds=60), agent_lives=True)
    assert "ahead of the clock" in well.staleness(NOW - timedelta(days=1), agent_lives=True)
    assert "not running since about" in well.staleness(NOW, agent_lives=False)


def test_findings_keep_their_beginning_and_come_worst_first() -> None:
    warning = Finding("a", Severity.WARNING, "s", "w")
    error = Finding("b", Severity.ERROR, "s", "w")
    before = carry_since((), [warning], NOW)
    after = carry_since(before, [warning, error], NOW + timedelta(hours=1))
    assert [(v.finding.code, v.since) for v in after] == [
        ("b", NOW + timedelta(hours=1)),
        ("a", NOW),
    ]


def test_the_side_that_does_not_initiate_waits() -> None:
    pairs = {name: replace(TUNNEL, remote_name=name) for name in ("node2", "node3", "node4")}
    begun = {}
    for name, tunnel in pairs.items():
        decision = turn(replace(SEEN, ovs=replace(SNAPSHOT, tunnels=(tunnel,))))
        begun[name] = Initiate in kinds(decision)
        assert begun[name] == decision.peers[0].initiator
    assert set(begun.values()) == {True, False}


def test_a_peer_that_expired_is_closed_on_the_operators_word() -> None:
    record = WatchRecord(expired_chassis=frozenset({"node2", "node7"}))
    decision = turn(replace(UP, record=record))
    assert codes(decision) == ["peer-expired"]
    (finding,) = decision.findings
    assert (finding.severity, finding.subject) == (Severity.ERROR, "peer node2")
    ended = [a for a in decision.actions if isinstance(a, TerminateIkeSa)]
    assert [action.unique_id for action in ended] == [SA.unique_id]
    assert not any(isinstance(action, Initiate) for action in decision.actions)


@pytest.mark.parametrize("years", [-10, -1, 5.1, 10])
def test_a_clock_alone_ends_no_sa(years: float) -> None:
    decision = turn(replace(UP, now=NOW + timedelta(days=365.25 * years)))
    assert decision.trust.identity is None
    assert not any(isinstance(a, TerminateIkeSa | UnloadConnection) for a in decision.actions)
    assert decision.peers[0].state is PeerState.UP
    assert [f.severity for f in decision.findings] == [Severity.ERROR]
    a_second_later = turn(replace(UP, now=NOW + timedelta(days=365.25 * years, seconds=1)))
    assert a_second_later.findings == decision.findings  # a text that differs is a line in the log


def test_an_underlay_that_is_too_small_for_pods_is_said_while_it_lasts() -> None:
    pods = replace(SNAPSHOT, longest_pod_mtu_bytes=1400)
    at = {"192.0.2.1": "eth0"}
    small = replace(SEEN, ovs=pods, addresses=at, mtus={"eth0": 1499})
    decision = decide(small, AgentMemory(), ())
    assert "underlay-mtu-too-small" in {f.code for f in decision.findings}
    away = replace(small, ovs=DaemonError("Open vSwitch's database does not answer"))
    decision = decide(away, decision.memory, ())
    assert "underlay-mtu-too-small" in {f.code for f in decision.findings}
    decision = decide(replace(small, mtus={"eth0": 1500}), decision.memory, ())
    assert "underlay-mtu-too-small" not in {f.code for f in decision.findings}
