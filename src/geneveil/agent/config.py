"""The agent's configuration file, /etc/geneveil/agent.yaml. Pure: text in, value out.

Everything has a default, and the default is off. What the cluster as a whole decided (ports,
encapsulation) comes from the operator when the node enrols; the file only says what a node must
know before that: whether to encrypt at all, and which ports to guard at boot.
"""

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from geneveil.model.cluster import ClusterSettings, Mode
from geneveil.model.names import is_chassis_name
from geneveil.model.yaml_lines import YamlSection, parse_yaml

API_VERSION = "geneveil.io/v1alpha1"
KIND = "AgentConfig"
DEFAULT_PATH = Path("/etc/geneveil/agent.yaml")

HIGHEST_PORT = 65535
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_SIGNER = re.compile(r"[a-z0-9.-]{1,253}/[A-Za-z0-9._-]{1,317}")
_OFF = re.compile(r"mode:[ \t]+(['\"]?)Disabled\1[ \t]*(#.*)?")
_STATE_DIR = re.compile(r"stateDir:[ \t]+(['\"]?)(/[^\s'\"#]+)\1[ \t]*(#.*)?")
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ControlPlaneKind(Enum):
    """Where nodes enrol: with geneveil's own operator, or through the Kubernetes API."""

    STANDALONE = "standalone"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class KubernetesConfig:
    """The cluster's API; what is left out, a Pod knows.

    Attributes:
        api_server: `https://host:port`; empty: the Pod's KUBERNETES_SERVICE_HOST and _PORT.
        ca_file: by which the API server is believed; whoever it believes speaks for the operator.
        token_file: a service account's token, bound to a Pod on this node; read at each request.
        namespace: where geneveil's ConfigMap is.
        node_name: of the Node object; empty: the Pod's NODE_NAME.
        signer_name: of certificate signing requests.
    """

    api_server: str = ""
    ca_file: Path = _SERVICE_ACCOUNT / "ca.crt"
    token_file: Path = _SERVICE_ACCOUNT / "token"
    namespace: str = "geneveil-system"
    node_name: str = ""
    signer_name: str = "geneveil.io/node"


@dataclass(frozen=True)
class AgentConfig:
    """What the file says.

    Attributes:
        geneve_ports: ascending UDP ports to guard even before the operator was ever reached.
        operator_url: where to enrol; empty: wherever the join token says.
        token_file: the one-time join token; read only while there is no certificate.
        ovsdb: Open vSwitch's database, in its own notation (unix:, tcp:, ssl:).
        vici: charon's control socket, unix:// and a path.
        chassis: this node's name; empty: external_ids:system-id of Open vSwitch.
        control_plane: with kubernetes, `operator_url` and `token_file` are not used.
        metrics: loopback address and TCP port to serve metrics at; None: nowhere.
    """

    mode: Mode = Mode.DISABLED
    geneve_ports: tuple[int, ...] = (6081,)
    operator_url: str = ""
    token_file: Path = Path("/etc/geneveil/token")
    state_dir: Path = Path("/var/lib/geneveil")
    run_dir: Path = Path("/run/geneveil")
    ovsdb: str = "unix:/run/openvswitch/db.sock"
    vici: str = "unix:///run/charon.vici"
    chassis: str = ""
    control_plane: ControlPlaneKind = ControlPlaneKind.STANDALONE
    kubernetes: KubernetesConfig = KubernetesConfig()
    metrics: tuple[str, int] | None = None


def parse_agent_config(text: str, file: str) -> AgentConfig:
    """Read the file's text.

    Raises:
        ConfigError: an unknown, mistyped or senseless field; names file, line and field.
    """
    top = parse_yaml(text, file)
    top.expect("apiVersion", API_VERSION)
    top.expect("kind", KIND)
    default = AgentConfig()
    operator = top.section("operator")
    metrics = top.section("metrics")
    config = AgentConfig(
        mode=_mode(top, default.mode),
        geneve_ports=_ports(top, default.geneve_ports),
        operator_url=_operator_url(operator),
        token_file=_path(operator, "tokenFile", default.token_file),
        state_dir=_path(top, "stateDir", default.state_dir),
        run_dir=_path(top, "runDir", default.run_dir),
        ovsdb=_prefixed(top, "ovsdb", default.ovsdb, ("unix:/", "tcp:", "ssl:")),
        vici=_prefixed(top, "vici", default.vici, ("unix:///",)),
        chassis=_chassis(top),
        metrics=_listen(metrics),
        control_plane=top.choice("controlPlane", ControlPlaneKind, default.control_plane),
        kubernetes=_kubernetes(top.section("kubernetes")),
    )
    operator.close()
    metrics.close()
    top.close()
    return config


def is_plainly_off(text: str) -> bool:
    """Whether a file that cannot be used says, all the same, that this node is not to encrypt.

    One line that begins with `mode:`, and Disabled behind it. Anything else may be a node that is
    to encrypt, and that somebody mistyped, or whose disk lost the half of it.
    """
    modes = [line for line in text.splitlines() if re.match(r"\W*mode\b", line)]
    return len(modes) == 1 and bool(_OFF.fullmatch(modes[0]))


def plain_state_dir(text: str) -> Path:
    """Where a file that cannot be used plainly says that the state is; else where it is by default:
    there the node's seal is looked for."""
    found = [match[2] for line in text.splitlines() if (match := _STATE_DIR.fullmatch(line))]
    return Path(found[0]) if len(found) == 1 else AgentConfig().state_dir


def guarded_ports(config: AgentConfig, settings: ClusterSettings | None) -> tuple[int, ...]:
    """Every port that has to be guarded: the file's and, once they are known, the cluster's."""
    return tuple(sorted({*config.geneve_ports, *(settings.geneve_ports if settings else ())}))


def _mode(top: YamlSection, default: Mode) -> Mode:
    if top.is_empty("mode"):
        words = " or ".join(mode.value for mode in Mode)
        raise top.refuse("mode", "it has no value, and nobody knows what was meant", f"{words}")
    return top.choice("mode", Mode, default)


def _ports(top: YamlSection, default: tuple[int, ...]) -> tuple[int, ...]:
    ports = top.integers("genevePorts", default)
    if not ports:
        raise top.refuse("genevePorts", "there must be at least one")
    for port in ports:
        if not 0 < port <= HIGHEST_PORT:
            raise top.refuse("genevePorts", f"{port} is not a UDP port")
    return tuple(sorted(set(ports)))


def _operator_url(operator: YamlSection) -> str:
    url = operator.text("url", "")
    if url and not url.startswith("https://"):
        raise operator.refuse("url", f"{url!r} does not begin with https://")
    return url


def _kubernetes(section: YamlSection) -> KubernetesConfig:
    default = KubernetesConfig()
    url = section.text("apiServer", default.api_server)
    if url and not url.startswith("https://"):
        raise section.refuse("apiServer", f"{url!r} does not begin with https://")
    config = KubernetesConfig(
        api_server=url,
        ca_file=_path(section, "caFile", default.ca_file),
        token_file=_path(section, "tokenFile", default.token_file),
        namespace=_word(section, "namespace", default.namespace, _LABEL),
        node_name=_word(section, "nodeName", default.node_name, _SUBDOMAIN),
        signer_name=_word(section, "signerName", default.signer_name, _SIGNER),
    )
    section.close()
    return config


def _word(section: YamlSection, key: str, default: str, pattern: re.Pattern[str]) -> str:
    value = section.text(key, default)
    if value and not pattern.fullmatch(value):
        raise section.refuse(key, f"{value!r} cannot be a name of this kind")
    return value or default


def _listen(metrics: YamlSection) -> tuple[str, int] | None:
    text = metrics.text("listen", "")
    if not text:
        return None
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise metrics.refuse("listen", f"{text!r} is not like 127.0.0.1:9478") from None
    if not address.is_loopback:
        raise metrics.refuse("listen", f"{address} is not a loopback address; anybody could read")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= HIGHEST_PORT:
        raise metrics.refuse("listen", f"{port!r} is not a TCP port")
    return str(address), int(port)


def _path(section: YamlSection, key: str, default: Path) -> Path:
    path = Path(section.text(key, str(default)))
    if not path.is_absolute():
        raise section.refuse(key, f"{str(path)!r} is not an absolute path")
    return path


def _prefixed(top: YamlSection, key: str, default: str, prefixes: tuple[str, ...]) -> str:
    value = top.text(key, default)
    if not value.startswith(prefixes):
        raise top.refuse(key, f"{value!r} does not begin with {' or '.join(prefixes)}")
    return value


def _chassis(top: YamlSection) -> str:
    name = top.text("chassis", "")
    if name and not is_chassis_name(name):
        raise top.refuse("chassis", f"{name!r} cannot be a chassis name")
    return name
