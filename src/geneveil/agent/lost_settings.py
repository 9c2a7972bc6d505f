"""What holds while the cluster's settings of an enrolled node are gone or damaged. Pure.

Nothing gets narrower: what this run has known stays in force, and what is guarded stays guarded.
Encapsulation after a restart is read off the SAs that stand, so that none is replaced for nothing.
With none standing it is Always: UDP 4500 is what a cluster with that setting may need to get
through at all, and a peer with Auto answers it, while a node with Auto may never be reached.
"""

from geneveil.agent.trust import TrustFiles
from geneveil.model.cluster import ClusterSettings, Encapsulation
from geneveil.model.connection import OWNED_PREFIX, ObservedIke
from geneveil.model.errors import GeneveilError
from geneveil.model.health import Finding, Severity

REMEDY = (
    "the operator sends them again as soon as it is reached; without it, copy settings.json from "
    "the state directory of another node: it is the same on each and holds no secret"
)


def are_lost(settings: ClusterSettings | GeneveilError | None, files: TrustFiles) -> bool:
    """Whether this node once had settings and has none now; before it enrols it has none."""
    is_enrolled = files.certificate is not None or files.problem is not None
    return isinstance(settings, GeneveilError) or (settings is None and is_enrolled)


def guess_encapsulation(ike: ObservedIke | GeneveilError) -> Encapsulation:
    """What the SAs of this node ride in; see above."""
    if isinstance(ike, GeneveilError):
        return Encapsulation.ALWAYS
    children = [
        child for sa in ike.sas if sa.connection.startswith(OWNED_PREFIX) for child in sa.children
    ]
    if children and not all(child.encapsulated for child in children):
        return Encapsulation.AUTO
    return Encapsulation.ALWAYS


def settings_missing() -> Finding:
    """For an enrolled node without the file; a damaged one is named by its error."""
    return Finding(
        "settings-missing",
        Severity.ERROR,
        "cluster settings",
        "this node is enrolled and settings.json is not there; what is guarded stays guarded",
        REMEDY,
    )
