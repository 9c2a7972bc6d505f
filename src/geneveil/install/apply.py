"""Plans and applies an installation on whatever answers as a `ClusterPort`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geneveil.install import standing as objects
from geneveil.install.decommission_pod import render_decommission_pod
from geneveil.install.plan import Action, Step, judge_object
from geneveil.install.port import ClusterPort, NotServedError
from geneveil.install.render import Document, switch_object
from geneveil.install.standing import Standing
from geneveil.install.wish import InstallWish
from geneveil.model.errors import ConfigError


def read_standing(cluster: ClusterPort) -> Standing | None:
    """The installation that is there, perhaps in part; None if there is none.

    Raises:
        DaemonError: the API server is away.
    """
    binding = cluster.read(objects.BINDING)
    if binding is None:
        return None
    namespace = objects.namespace_of(binding)
    return objects.judge_standing(
        binding,
        cluster.read(objects.ROLE),
        cluster.read(objects.deployment_in(namespace)),
        cluster.read(objects.constraints_role_in(namespace)),
    )


def read_switch(cluster: ClusterPort, wish: InstallWish) -> tuple[Mapping[str, Any] | None, bool]:
    """The cluster's ClusterIPsec, None where IPsec was never decided about; and whether it is gone.

    One that is gone where IPsec is on is known by what the nodes are told.

    Raises:
        TrustError: as `read_sealed`.
        DaemonError: the API server is away.
    """
    there = cluster.read(switch_object(wish))
    if there is not None:
        return there, False
    trust = cluster.read(objects.trust_in(wish.namespace))
    return (None, False) if trust is None else (objects.read_sealed(trust), True)


def read_decommission_pod(cluster: ClusterPort, node: str) -> Document:
    """The Pod that takes geneveil off a node of this cluster. Changes nothing.

    Raises:
        ConfigError: there is no such Node, or no geneveil with agents.
        DaemonError: the API server is away.
    """
    metadata = {"name": node}
    if cluster.read({"apiVersion": "v1", "kind": "Node", "metadata": metadata}) is None:
        raise ConfigError(f"there is no Node {node}", remedy="kubectl get nodes lists them")
    standing = read_standing(cluster)
    agents = standing and cluster.read(objects.agents_in(standing.namespace))
    if not agents:
        raise ConfigError(
            "this cluster has no DaemonSet geneveil-agent", why="the Pod is made by its example"
        )
    return render_decommission_pod(agents, node)


def plan_installation(
    cluster: ClusterPort, documents: Sequence[Document], *, force: bool
) -> list[Step]:
    """What applying would do, as far as the API server can tell. Changes nothing.

    What is not there yet is tried too, but where its namespace or its kind is part of the
    installation.

    Raises:
        RefusedError: a change is refused by the API server.
        DaemonError: the API server is away.
    """
    steps = []
    for document in documents:
        before, after = cluster.read(document), None
        try:
            after = cluster.apply(document, dry_run=True, force=force)
        except NotServedError:
            if before is not None:
                raise
        steps.append(judge_object(document, before, after))
    return steps


def apply_installation(
    cluster: ClusterPort,
    documents: Sequence[Document],
    steps: Sequence[Step],
    tell: Callable[[Step], None],
    *,
    force: bool,
) -> None:
    """Apply what a plan says, in order; stops at the first failure, and may be repeated.

    Args:
        tell: is called with each step when it is done.
    Raises:
        as `plan_installation`.
    """
    for document, step in zip(documents, steps, strict=True):
        if step.action is not Action.UNCHANGED:
            cluster.apply(document, dry_run=False, force=force)
        if document["kind"] == "CustomResourceDefinition":
            cluster.wait_for_definition(document["metadata"]["name"])
        tell(step)
