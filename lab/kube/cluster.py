"""What a cluster's kubelets and installer would do on an API server: nodes, Pods, tokens."""

import time
from collections.abc import Mapping
from typing import Any

from lab.errors import LabError
from lab.kube import objects
from lab.kube.server import ApiServer

_KNOWN_SECONDS = 30.0
_ESTABLISHED_SECONDS = 120.0


def await_established(server: ApiServer, *crds: str) -> None:
    """Wait until CRDs are served: those that are named (`crd/NAME`), or all that there are.

    Raises:
        LabError: they are not in time; has what kubectl said.
    """
    words = ("--for=condition=Established", "--timeout=60s", *(crds or ("crd", "--all")))
    until = time.monotonic() + _ESTABLISHED_SECONDS
    # kubectl gives up at once on a CRD that has no conditions yet: kubernetes issue 66439
    while (done := server.kubectl("wait", *words)).returncode:
        if time.monotonic() > until:
            raise LabError("CRDs are not served", why=done.stderr.strip())
        time.sleep(0.1)


def make_namespace(server: ApiServer, name: str = objects.NAMESPACE) -> None:
    """The namespace with our two service accounts, unless they are there."""
    wanted = [
        objects.namespace(name),
        objects.service_account(objects.AGENT, name),
        objects.service_account(objects.OPERATOR, name),
    ]
    server.kubectl_json(
        "apply", "--server-side", "--field-manager=lab", "-f", "-", stdin=_listed(wanted)
    )


def make_node(
    server: ApiServer, name: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A Node, registered with its own kubelet's credentials."""
    document = objects.node(name, annotations or {})
    config = server.node_kubeconfig(name)
    return server.kubectl_json("create", "-f", "-", stdin=document, config=config)


def make_agent_pod(
    server: ApiServer,
    node: str,
    *,
    name: str | None = None,
    namespace: str = objects.NAMESPACE,
    account: str = objects.AGENT,
) -> dict[str, Any]:
    """The agent's Pod on a node, as a DaemonSet would make it; its service account must be there.

    Returns:
        The Pod as the API server has it, with its uid.
    """
    document = objects.pod(name or f"{account}-{node}", namespace, account, node)
    return server.kubectl_json("create", "-f", "-", stdin=document)


def request_token(
    server: ApiServer,
    pod: Mapping[str, Any],
    *,
    seconds: int = 3600,
    as_node: str | None = None,
    audiences: tuple[str, ...] = (),
) -> str:
    """A service-account token bound to this Pod, asked for as its node's kubelet does.

    Right after the Pod was made the API server may not know yet that it is on that node: a kubelet
    asks again, and so does this.

    Args:
        pod: as `make_agent_pod` returned it.
        seconds: how long it is good for; the API server grants no less than 600.
        as_node: another node's kubelet asks; the API server is to refuse.
    Raises:
        LabError: refused; has the API server's words.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    path = (
        f"/api/v1/namespaces/{metadata['namespace']}"
        f"/serviceaccounts/{spec['serviceAccountName']}/token"
    )
    config = server.node_kubeconfig(as_node or spec["nodeName"])
    request = objects.token_request(pod, seconds, audiences)
    until = time.monotonic() + _KNOWN_SECONDS
    while True:
        try:
            granted = server.post(path, request, config=config)
        except LabError as error:
            is_early = as_node is None and "no relationship found" in error.why
            if not is_early or time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            token: str = granted["status"]["token"]
            return token


def _listed(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": documents}
