"""A control plane, as the rest of the agent sees it."""

from typing import Protocol

from geneveil.enroll.port import EnrolmentPort, JoinToken
from geneveil.model.node_status import NodeStatus


class ControlPlane(Protocol):
    """Where this node enrols, renews and hears what to trust.

    Attributes:
        needs_token: whether a node must be let in by a join token; else its place in the cluster
            is proof enough, and it may ask whenever it has no certificate that it can use.
    """

    needs_token: bool

    def start(self) -> None:
        """Start what runs in the background."""

    def token(self, chassis: str) -> JoinToken:
        """What this node enrols with; ConfigError if there is nothing to enrol with."""

    def join(self, token: JoinToken) -> EnrolmentPort:
        """Whom to enrol with."""

    def joined(self, token: JoinToken) -> None:
        """The operator that the token names has proved itself: remember where it is."""

    def renewer(self) -> EnrolmentPort:
        """Whom to ask for a new certificate; ConfigError if nobody said where that is."""

    def watcher(self) -> EnrolmentPort:
        """Who holds the watch; the same one at each call, for as long as it stays the right one."""

    def token_digest(self) -> str | None:
        """Tells the join token that is there from others; None for none."""

    def report(self, status: NodeStatus) -> None:
        """What the node is like at this turn; returns at once and never fails."""
