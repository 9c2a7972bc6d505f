"""Where the cluster's API is and which node this is. Pure: configuration and environment in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geneveil.agent.config import KubernetesConfig
from geneveil.kube.rest.port import ApiServer
from geneveil.model.errors import ConfigError

TRUST_CONFIG_MAP = "geneveil-trust"
TRUST_KEY = "trust.json"
NODES = "/apis/geneveil.io/v1alpha1/nodeipsecs"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


@dataclass(frozen=True)
class Place:
    """All that an agent must know of its cluster.

    Attributes:
        node: the name of the Node object, and so of the NodeIPsec.
        signer: the signerName of certificate signing requests.
    """

    server: ApiServer
    namespace: str
    node: str
    signer: str

    @property
    def config_maps(self) -> str:
        """The collection that the trust is in."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps"


def find_place(config: KubernetesConfig, environment: Mapping[str, str]) -> Place:
    """Take what the configuration says, and the Pod's environment for what it leaves open.

    Raises:
        ConfigError: neither says where the API server is, or which node this is.
    """
    url = config.api_server
    if not url:
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ConfigError(
                "nobody said where the API server is",
                why="kubernetes.apiServer is empty and this is no Pod",
                remedy="write kubernetes: {apiServer: https://host:6443}",
            )
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    node = config.node_name or environment.get("NODE_NAME", "")
    if not node:
        raise ConfigError(
            "nobody said which Node this is",
            remedy="write kubernetes: {nodeName: NAME}, or set NODE_NAME from spec.nodeName",
        )
    return Place(
        server=ApiServer(url, Path(config.ca_file), Path(config.token_file)),
        namespace=config.namespace,
        node=node,
        signer=config.signer_name,
    )
