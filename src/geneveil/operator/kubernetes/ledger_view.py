"""The ledger as people's commands read it: the operator's own tables, filled from the API."""

from geneveil.kube.kinds import NODE_IPSECS
from geneveil.kube.port import KubePort, Selection
from geneveil.model.clock import Clock
from geneveil.model.errors import ConfigError
from geneveil.operator.kubernetes.node_report import read_confirmation
from geneveil.operator.kubernetes.store import KubeStore, Place, load_store
from geneveil.operator.records import Confirmation
from geneveil.operator.trust_tables import TrustTables


def open_ledger(port: KubePort, namespace: str, clock: Clock) -> KubeStore:
    """Read it; nothing can be written through it.

    Raises:
        ConfigError: nothing was sealed there yet.
    """
    store = load_store(Place(port, namespace, may_write=lambda: False), clock)
    if store is None:
        raise ConfigError(
            f"the namespace {namespace} holds no sealed cluster",
            remedy="apply a ClusterIPsec, and see that the operator runs",
        )
    now = clock.now()
    said = []
    for document in port.list_all(Selection(NODE_IPSECS)).items:
        state = read_confirmation(document)
        record = store.find_certificate(state.serial) if state is not None else None
        if state is not None and record is not None:
            said.append(Confirmation(record.chassis, state, now))
    with store.transaction():
        TrustTables(store).put_confirmations(said)
    return store
