"""The state of a cluster, read or made: what a session of the leader stands on."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from geneveil.kube.errors import ApiRefusedError, ExistsError, MissingError
from geneveil.kube.kinds import (
    CLUSTER_IPSECS,
    CLUSTER_NAME,
    DEFINITIONS,
    OPENSHIFT_NETWORKS,
    OWN_DEFINITIONS,
)
from geneveil.kube.port import Document
from geneveil.model.clock import Clock
from geneveil.model.cluster import Mode
from geneveil.model.errors import TrustError
from geneveil.operator.cluster import authority_certificate
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.issuing import Desk
from geneveil.operator.keeper import ClockMark, Keeper, KeyFiles
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.signer import Signer
from geneveil.operator.kubernetes.store import KubeStore, Place, load_store
from geneveil.operator.kubernetes.switch import is_installing, read_switch, switch_of_openshift
from geneveil.operator.log_lines import log_line
from geneveil.operator.records import AuthorityRecord
from geneveil.operator.registry import Registry, read_cluster
from geneveil.operator.sealing import seal_cluster
from geneveil.pki.authority import Authority
from geneveil.pki.keyfiles import NamedBytes, parse_private_key

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foundation:
    """Everything that stands on one store; made anew when the store is read anew.

    Attributes:
        registry, keeper, signer: None where IPsec is off.
    """

    store: KubeStore
    mode: Mode
    registry: Registry | None
    keeper: Keeper | None
    signer: Signer | None


@dataclass(frozen=True)
class Means:
    """What is needed to build one.

    Attributes:
        server_now: the API server's time, from our own: for what its clock stamped.
    """

    place: Place
    clock: Clock
    draw: Callable[[int], bytes]
    cache: ClusterCache
    confirmations: Confirmations
    server_now: Callable[[datetime], datetime] = lambda own: own

    @property
    def server_clock(self) -> Clock:
        """The API server's clock, as far as it is known."""
        return _ServerTime(self.clock, self.server_now)


@dataclass(frozen=True)
class _ServerTime:
    own: Clock
    of_server: Callable[[datetime], datetime]

    def now(self) -> datetime:
        return self.of_server(self.own.now())


def lay_foundation(means: Means) -> Foundation | None:
    """Read the state, or make it from the switch; None while nobody has said what to do.

    Raises:
        GeneveilError: it can't be read, or the API server did not answer: try again.
    """
    store = load_store(means.place, means.server_clock)
    if store is None:
        switch = means.cache.switch or ask_openshift(means)
        if switch is None:
            return None
        _check_never_sealed(switch)
        store = _seal(means, switch)
        if store is None:
            return None
    cluster = read_cluster(store)
    if cluster.settings.mode is Mode.DISABLED:
        return Foundation(store, Mode.DISABLED, None, None, None)
    registry = Registry(store, lambda record: _authority(store, record), means.clock, means.draw)
    files = KeyFiles(write=store.stage_key, remove=store.drop_keys)
    mark = ClockMark(read=lambda: store.believed_at, write=store.note_believed)
    keeper = Keeper(registry, means.confirmations, files, mark)
    desk, claims = Desk(registry), means.cache.claims
    signer = Signer(desk, store, claims, means.place.namespace, means.server_now)
    return Foundation(store, Mode.FULL, registry, keeper, signer)


def ask_openshift(means: Means) -> Document | None:
    """Make the ClusterIPsec that OKD's switch asks for; None where there is no such API, and while
    it is off and geneveil is being installed: somebody may be about to make one.

    Raises:
        ConfigError: it can't be obeyed.
    """
    port = means.place.port
    try:
        network = port.find(OPENSHIFT_NETWORKS, CLUSTER_NAME)
    except ApiRefusedError as error:
        _log.warning(log_line("openshift-not-readable", error=error.render()))
        return None
    if network is None:
        return None
    wanted = switch_of_openshift(network)
    if wanted["spec"]["mode"] == Mode.DISABLED.value:
        definition = port.find(DEFINITIONS, OWN_DEFINITIONS[0])
        if is_installing(definition, means.server_clock.now()):
            return None
    try:
        made = port.create(CLUSTER_IPSECS, wanted)
    except (ExistsError, MissingError):
        return None
    mode = wanted["spec"]["mode"]
    _log.info(log_line("switch-made", source="Network.operator.openshift.io", mode=mode))
    return made


def _seal(means: Means, switch: Document) -> KubeStore | None:
    config = read_switch(switch)
    store = KubeStore(means.place, means.server_clock)
    try:
        store.load()
        now: datetime = means.clock.now()
        seal_cluster(store, config, now, means.draw, store.stage_key)
    except ExistsError:
        store.close()
        return None  # another replica was faster; the next look reads what it made
    except BaseException:
        store.close()
        raise
    _log.info(log_line("sealed", mode=config.spec.mode))
    return store


def _check_never_sealed(switch: Document) -> None:
    sealed = (switch.get("status") or {}).get("sealedSHA256")
    if sealed:
        raise TrustError(
            "the Secret with the certificate authority is gone",
            why=f"the ClusterIPsec says that configuration {sealed} was sealed",
            remedy="restore the Secret geneveil-ca and the ConfigMaps geneveil-ledger-* from a "
            "backup; another authority would cut all nodes off",
        )


def _authority(store: KubeStore, record: AuthorityRecord) -> Authority:
    pem = store.keys.get(record.authority_id)
    if pem is None:
        raise TrustError(f"the Secret holds no key of authority {record.authority_id}")
    key = parse_private_key(NamedBytes(f"ca-{record.authority_id}.key", pem))
    certificate = authority_certificate(record)
    if certificate.public_key() != key.public_key():
        raise TrustError(f"the Secret's key is not that of authority {record.authority_id}")
    return Authority(certificate, key)
