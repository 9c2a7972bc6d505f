"""The wire between two nodes is cut, wholly or for some packets, and mended."""

from lab.fault import Fault, Keeps, Part, codes
from lab.wire_faults import drop_between, mend

TITLE = "A pair is partitioned for 1 s, 30 s and 10 minutes; UDP 500 and 4500 are blocked"
NODES = 3
_PAIR = ("node1", "node2")
_CLAIMS = frozenset({Part.WIRE})
_IKE = "udp dport { 500, 4500 }"
_RETRANSMISSION_SECONDS = 3.0
# Of a pair that was away so long that its SAs ended: charon asks again every 3 s, then a handshake.
_MOST_RECOVERY_SECONDS = _RETRANSMISSION_SECONDS + 2.0

FAULTS = (
    Fault(
        "partition_1_s",
        "wire: a pair partitioned for 1 s",
        drop_between(*_PAIR),
        mend(*_PAIR),
        touches=("node1-node2",),
        claims=_CLAIMS,
        hold_seconds=1,
        keeps=Keeps.ALL,
        most_recovery_seconds=2.0,
        is_short=True,
    ),
    Fault(
        "partition_30_s",
        "wire: a pair partitioned for 30 s",
        drop_between(*_PAIR),
        mend(*_PAIR),
        touches=("node1-node2",),
        claims=_CLAIMS,
        hold_seconds=30,
        says=codes(_PAIR, "peer-silent"),
        keeps=Keeps.ALL,
        most_recovery_seconds=2.0,
    ),
    Fault(
        "partition_10_minutes",
        "wire: a pair partitioned for 10 minutes",
        drop_between(*_PAIR),
        mend(*_PAIR),
        touches=("node1-node2",),
        claims=_CLAIMS,
        hold_seconds=600,
        says=codes(_PAIR, "peer-silent", "peer-down"),
        most_recovery_seconds=_MOST_RECOVERY_SECONDS,
    ),
    Fault(
        "ike_blocked_30_s",
        "wire: UDP 500 and 4500 blocked between a pair for 30 s",
        drop_between(*_PAIR, _IKE),
        mend(*_PAIR),
        claims=_CLAIMS,
        hold_seconds=30,
        says=codes(_PAIR, "peer-silent"),
        keeps=Keeps.ALL,
    ),
    Fault(
        "ike_blocked_2_minutes",
        "wire: UDP 500 and 4500 blocked between a pair for 2 minutes",
        drop_between(*_PAIR, _IKE),
        mend(*_PAIR),
        claims=_CLAIMS,
        hold_seconds=120,
        says=codes(_PAIR, "peer-silent"),
        keeps=Keeps.ALL,
    ),
)
