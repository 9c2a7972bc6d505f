"""Where the cluster's API is and which node this is. Pure: configuration and environment in."""

from collections.abc import Mapping
from dataclasses import dataclass

from geneveil.agent.config import KubernetesConfig
from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.kinds import CONFIG_MAPS, TRUST_CONFIG_MAP
from geneveil.kube.port import Selection
from geneveil.model.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """All that an agent must know of its cluster.

    Attributes:
        node: the name of the Node object, and so of the NodeIPsec.
        signer: the signerName of certificate signing requests.
    """

    access: KubeAccess
    namespace: str
    node: str
    signer: str

    @property
    def trust(self) -> Selection:
        """The one ConfigMap that the trust is in."""
        return Selection(CONFIG_MAPS, self.namespace, fields=f"metadata.name={TRUST_CONFIG_MAP}")


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
        access=KubeAccess(
            server=url,
            authority=Material(path=str(config.ca_file)),
            namespace=config.namespace,
            token_file=str(config.token_file),
        ),
        namespace=config.namespace,
        node=node,
        signer=config.signer_name,
    )
