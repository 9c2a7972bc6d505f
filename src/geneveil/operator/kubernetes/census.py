"""Counts what ClusterIPsec.status tells. No writing."""

from geneveil.kube.port import Document
from geneveil.operator.kubernetes.cluster_status import ClusterFacts
from geneveil.operator.kubernetes.foundation import Means
from geneveil.operator.kubernetes.node_report import is_ready
from geneveil.operator.kubernetes.restoration import find_strangers
from geneveil.operator.kubernetes.store import KubeStore
from geneveil.operator.kubernetes.switch import Problem, judge_switch
from geneveil.operator.registry import Registry, read_cluster
from geneveil.operator.rollover_view import gather_rollover
from geneveil.pki.rollover import Phase, decide_phase

REVIEWED = "geneveil.io/restore-reviewed"
_MOST_NAMED = 5


def take_census(
    store: KubeStore,
    registry: Registry | None,
    means: Means,
    at_seconds: float,
    further: tuple[Problem, ...] = (),
) -> ClusterFacts:
    """What is to be told now.

    Args:
        further: what else is wrong, as with CRDs and admission policies; told last.
    """
    cache = means.cache
    cluster, seal = read_cluster(store), store.read_seal()
    problems = [judge_switch(cache.switch, seal)]
    certified = 0
    waiting: tuple[str, ...] = ()
    state = None
    if registry is not None:
        registry.refresh()
        state = registry.state
        now = means.clock.now()
        valid = registry.tables.read_valid_certificates(now)
        nodes = cache.claims.nodes.values()
        certified = sum(1 for facts in nodes if facts.chassis and facts.chassis in valid)
        if state.trust.phase is not Phase.STEADY:
            view = gather_rollover(
                store,
                state,
                means.confirmations.find,
                lambda chassis: means.confirmations.is_live(chassis, at_seconds),
                now,
            )
            missing = decide_phase(view).missing
            waiting = tuple(one.chassis for one in missing if one.chassis)
        problems += [_restored(state.trust.epoch, cache.switch), _strangers(means, registry)]
    problems += further
    return ClusterFacts(
        mode=cluster.settings.mode,
        sealed_sha256=seal.sha256,
        state=state,
        total=len(cache.nodes),
        certified=certified,
        up=sum(1 for name in cache.nodes if _is_up(name, means, at_seconds)),
        waiting=waiting,
        problems=tuple(problem for problem in problems if problem is not None),
    )


def _is_up(name: str, means: Means, at_seconds: float) -> bool:
    """The Node says so, and its agent still speaks: what it said last stays when it is dead."""
    facts = means.cache.claims.find(name)
    if facts is None or not means.confirmations.is_live(facts.chassis, at_seconds):
        return False
    return is_ready(means.cache.node_ipsecs.get(name) or {})


def _restored(epoch: int, switch: Document | None) -> Problem | None:
    annotations = ((switch or {}).get("metadata") or {}).get("annotations") or {}
    if epoch == 1 or annotations.get(REVIEWED) == str(epoch):
        return None
    return Problem(
        "RestoredFromOlderState",
        "what nodes have seen is newer than what is remembered here: etcd or the Secret was "
        "restored from an older copy. Nodes that were revoked since that copy are not revoked any "
        "more unless their Node is gone: revoke them again, then say so with "
        f"kubectl annotate clusteripsec cluster --overwrite {REVIEWED}={epoch}",
    )


def _strangers(means: Means, registry: Registry) -> Problem | None:
    """Nodes that use a certificate that the ledger does not know: nobody could revoke it."""
    names = list(find_strangers(means.cache.said, registry.store.read_serials()))
    if not names:
        return None
    shown = ", ".join(names[:_MOST_NAMED]) + (" …" if len(names) > _MOST_NAMED else "")
    return Problem(
        "CertificateNotInLedger",
        f"{len(names)} nodes use a certificate that the ledger does not know ({shown}): it was "
        "issued after the copy that was restored. Each was told to ask for another, and does so "
        "within minutes; of one that does not, look at the agent's log",
    )
