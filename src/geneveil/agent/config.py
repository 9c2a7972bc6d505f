"""The agent's configuration file, /etc/geneveil/agent.yaml. Pure: text in, value out.

Everything has a default, and the default is off. What the cluster as a whole decided (ports,
encapsulation) comes from the operator when the node enrols; the file only says what a node must
know before that: whether to encrypt at all, and which ports to guard at boot.
"""

from dataclasses import dataclass
from pathlib import Path

from geneveil.model.cluster import ClusterSettings, Mode
from geneveil.model.names import is_chassis_name
from geneveil.model.yaml_lines import YamlSection, parse_yaml

API_VERSION = "geneveil.io/v1alpha1"
KIND = "AgentConfig"
DEFAULT_PATH = Path("/etc/geneveil/agent.yaml")

HIGHEST_PORT = 65535


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
    config = AgentConfig(
        mode=top.choice("mode", Mode, default.mode),
        geneve_ports=_ports(top, default.geneve_ports),
        operator_url=_operator_url(operator),
        token_file=_path(operator, "tokenFile", default.token_file),
        state_dir=_path(top, "stateDir", default.state_dir),
        run_dir=_path(top, "runDir", default.run_dir),
        ovsdb=_prefixed(top, "ovsdb", default.ovsdb, ("unix:/", "tcp:", "ssl:")),
        vici=_prefixed(top, "vici", default.vici, ("unix:///",)),
        chassis=_chassis(top),
    )
    operator.close()
    top.close()
    return config


def guarded_ports(config: AgentConfig, settings: ClusterSettings | None) -> tuple[int, ...]:
    """Every port that has to be guarded: the file's and, once they are known, the cluster's."""
    return tuple(sorted({*config.geneve_ports, *(settings.geneve_ports if settings else ())}))


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
