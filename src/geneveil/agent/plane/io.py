"""The two control planes, and the one place where the choice is made."""

import os

from geneveil.agent.config import AgentConfig, ControlPlaneKind
from geneveil.agent.enrolment import digest_token
from geneveil.agent.plane.port import ControlPlane
from geneveil.agent.store import OPERATOR_URL, NodeStore
from geneveil.enroll.io import EnrolmentClient
from geneveil.enroll.port import EnrolmentPort, JoinToken
from geneveil.model.clock import Clock
from geneveil.model.errors import ConfigError
from geneveil.model.node_status import NodeStatus


def open_plane(config: AgentConfig, store: NodeStore, clock: Clock) -> ControlPlane:
    """The control plane that the configuration names.

    Raises:
        ConfigError: it does not say enough.
    """
    if config.control_plane is ControlPlaneKind.KUBERNETES:
        return KubernetesPlane(config, clock)
    return StandalonePlane(config, store)


class StandalonePlane:
    """geneveil's own operator, over HTTPS; nodes are let in by join tokens."""

    needs_token = True

    def __init__(self, config: AgentConfig, store: NodeStore) -> None:
        self._config = config
        self._store = store
        self._watcher: EnrolmentClient | None = None

    def start(self) -> None:
        """See `ControlPlane.start`."""

    def token(self, chassis: str) -> JoinToken:
        """See `ControlPlane.token`."""
        from geneveil.enroll.wire import parse_token

        token = parse_token(self._read_token())
        if token.chassis != chassis:
            raise ConfigError(
                f"the join token is for {token.chassis}, and this node is {chassis}",
                remedy=f"make one for this node: geneveil operator token {chassis}",
            )
        return token

    def join(self, token: JoinToken) -> EnrolmentPort:
        """See `ControlPlane.join`."""
        return EnrolmentClient(self._config.operator_url or token.url)

    def joined(self, token: JoinToken) -> None:
        """See `ControlPlane.joined`."""
        self._store.write(OPERATOR_URL, (self._config.operator_url or token.url).encode())

    def renewer(self) -> EnrolmentPort:
        """See `ControlPlane.renewer`."""
        return EnrolmentClient(self._url())

    def watcher(self) -> EnrolmentPort:
        """See `ControlPlane.watcher`."""
        url = self._url()
        if self._watcher is None or self._watcher.url != url.rstrip("/"):
            self._watcher = EnrolmentClient(url)
        return self._watcher

    def token_digest(self) -> str | None:
        """See `ControlPlane.token_digest`."""
        try:
            return digest_token(self._config.token_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            return ""  # there is one: the attempt says what is wrong with it

    def report(self, status: NodeStatus) -> None:
        """See `ControlPlane.report`: an operator of ours does not ask."""

    def _url(self) -> str:
        """Where the operator is: the configuration says, or the token did at enrolment."""
        kept = self._store.read(OPERATOR_URL)
        url = self._config.operator_url or (kept or b"").decode("ascii", "replace").strip()
        if not url:
            raise ConfigError(
                "nobody said where the operator is",
                remedy="write operator: {url: https://host:9443}",
            )
        return url

    def _read_token(self) -> str:
        path = self._config.token_file
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            why = "no such file"
        except (OSError, UnicodeDecodeError) as error:
            why = str(error)
        raise ConfigError(
            f"cannot read the join token {path}",
            why=why,
            remedy="make one: geneveil operator token NODE",
        )


class KubernetesPlane:
    """Objects of the Kubernetes API; what lets a node in is its Pod's token.

    Raises:
        ConfigError: nobody said where the API server is, or which Node this is.
    """

    needs_token = False

    def __init__(self, config: AgentConfig, clock: Clock) -> None:
        from geneveil.agent.kube.io import KubeConnector, KubeEnrolment
        from geneveil.agent.kube.place import find_place
        from geneveil.agent.kube.report.io import Reporter

        place = find_place(config.kubernetes, os.environ)
        connector = KubeConnector(place)
        self._enrolment = KubeEnrolment(place, connector.connect)
        self._reporter = Reporter(place, connector.connect, clock, self._enrolment.confirm_anew)

    def start(self) -> None:
        """See `ControlPlane.start`."""
        self._reporter.start()

    def token(self, chassis: str) -> JoinToken:
        """See `ControlPlane.token`: one that says nothing but the name."""
        return JoinToken(chassis, b"", b"", b"")

    def join(self, token: JoinToken) -> EnrolmentPort:
        """See `ControlPlane.join`."""
        return self._enrolment

    def joined(self, token: JoinToken) -> None:
        """See `ControlPlane.joined`: the configuration says where it is."""

    def renewer(self) -> EnrolmentPort:
        """See `ControlPlane.renewer`."""
        return self._enrolment

    def watcher(self) -> EnrolmentPort:
        """See `ControlPlane.watcher`."""
        return self._enrolment

    def token_digest(self) -> str | None:
        """See `ControlPlane.token_digest`."""
        return None

    def report(self, status: NodeStatus) -> None:
        """See `ControlPlane.report`."""
        self._reporter.tell(status)
