"""The configuration file that people write: `kind: ClusterIPsec`.

This schema is published as docs/schema/clusteripsec.schema.json. What JSON Schema can't say (that
lifetimes contradict one another) is checked here as well. Values are strict: `"6081"` is no port.
"""

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from geneveil.model.cluster import (
    CalendarSpan,
    CertificatePolicy,
    ClusterSettings,
    Encapsulation,
    KeyType,
    Mode,
    parse_span,
)
from geneveil.model.names import is_chassis_name
from geneveil.pki.spans import add_span, add_spans, is_shorter

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
SPAN_PATTERN = r"^(?:[0-9]{1,4}y)?(?:[0-9]{1,5}mo)?(?:[0-9]{1,6}d)?$"
DURATION_PATTERN = r"^[1-9][0-9]{0,6}[smhd]$"
LISTEN_PATTERN = r"^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"
_MOST_MONTHS, _MOST_DAYS = 100 * 12, 100 * 365


def _check_span(text: str) -> str:
    span = parse_span(text)
    if span.months >= _MOST_MONTHS or span.days >= _MOST_DAYS:
        raise ValueError("must be less than 100y")
    return text


def _check_listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if int(port) > 65535:
        raise ValueError(f"port {port} is not between 0 and 65535")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError(f"{host} is no IPv6 address") from None
    return text


def _check_server_name(text: str) -> str:
    if is_chassis_name(text):  # host names and IPv4 addresses have the same syntax
        return text
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a host name nor an IP address") from None
    return text


def _check_ports(ports: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(ports)) != len(ports):
        raise ValueError("a port stands in it twice")
    return ports


Span = Annotated[str, Field(pattern=SPAN_PATTERN), AfterValidator(_check_span)]
Duration = Annotated[str, Field(pattern=DURATION_PATTERN)]
Port = Annotated[int, Field(ge=1, le=65535)]
ServerName = Annotated[str, Field(min_length=1, max_length=63), AfterValidator(_check_server_name)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
    )


class Metadata(_Strict):
    """Whose configuration this is."""

    name: str = Field(
        pattern=NAME_PATTERN,
        description="The cluster's name, 1 to 63 of a-z, 0-9 and hyphens.",
    )


class Certificates(_Strict):
    """Keys and lifetimes. Spans are calendar spans: 10y, 54mo, 4y6mo, 30d."""

    key_type: Literal["ECDSA-P256", "ECDSA-P384", "RSA-3072"] = Field(
        default="ECDSA-P256", description="Key type of the authority and of the nodes."
    )
    ca_lifetime: Span = Field(default="10y", description="How long the authority is valid.")
    node_lifetime: Span = Field(default="5y", description="How long a node's certificate is valid.")
    renew_after: Span = Field(
        default="54mo", description="When a node's certificate is replaced, counted from its issue."
    )

    ca_rotate_after: Span | None = Field(
        default=None,
        description="When the authority is followed by another, counted from its beginning. "
        "Without it: a node's lifetime and up to 90 days before the authority's end, so that no "
        "certificate is cut short by its authority's end.",
    )
    rollover_wave: Duration | None = Field(
        default=None,
        description="Over how long the nodes renew when the authority is followed by another: "
        "30s, 10m, 6h, 1d. Without it: 1d, or a quarter of the time from renewAfter to "
        "nodeLifetime if that is shorter.",
    )

    @model_validator(mode="after")
    def _lifetimes_agree(self) -> "Certificates":
        renew, node, ca = (
            parse_span(text) for text in (self.renew_after, self.node_lifetime, self.ca_lifetime)
        )
        if not is_shorter(renew, node):
            raise ValueError(
                f"renewAfter ({self.renew_after}) must end before nodeLifetime "
                f"({self.node_lifetime}), or certificates would end before they are replaced"
            )
        if not is_shorter(node, ca):
            raise ValueError(
                f"nodeLifetime ({self.node_lifetime}) must be shorter than caLifetime "
                f"({self.ca_lifetime}), or certificates would outlive their authority"
            )
        self._check_rotation(node, ca)
        return self

    def _check_rotation(self, node: CalendarSpan, ca: CalendarSpan) -> None:
        if self.ca_rotate_after is not None:
            rotate = parse_span(self.ca_rotate_after)
            if is_shorter(ca, add_spans(rotate, node)):
                raise ValueError(
                    f"caRotateAfter ({self.ca_rotate_after}) and nodeLifetime "
                    f"({self.node_lifetime}) together must not be longer than caLifetime "
                    f"({self.ca_lifetime}), or certificates made just before the authority is "
                    "followed by another would outlive it"
                )
        if self.rollover_wave is not None and parse_duration(self.rollover_wave) >= self.left():
            raise ValueError(
                f"rolloverWave ({self.rollover_wave}) must be shorter than the time from "
                f"renewAfter ({self.renew_after}) to nodeLifetime ({self.node_lifetime}), or "
                "certificates would end before it is their turn"
            )

    def left(self) -> timedelta:
        """From the renewal of a node's certificate to its end, in a year without a leap day."""
        begin = datetime(2001, 1, 1, tzinfo=UTC)
        node, renew = parse_span(self.node_lifetime), parse_span(self.renew_after)
        return add_span(begin, node) - add_span(begin, renew)

    def wave(self) -> timedelta:
        """Over how long nodes renew in a roll-over."""
        if self.rollover_wave is not None:
            return parse_duration(self.rollover_wave)
        return min(timedelta(days=1), self.left() / 4)


class OperatorSection(_Strict):
    """Where the operator answers."""

    listen: Annotated[str, AfterValidator(_check_listen)] = Field(
        default="0.0.0.0:9443",
        pattern=LISTEN_PATTERN,
        description="Address and port to listen on; [::]:9443 for IPv6.",
    )
    names: tuple[ServerName, ...] = Field(
        default=(),
        max_length=16,
        description="DNS names and IP addresses for the operator's server certificate. The first "
        "one is written into join tokens. No chassis may have one of these names.",
    )


class Spec(_Strict):
    """What the cluster is to do."""

    mode: Literal["Disabled", "Full"] = Field(
        default="Disabled",
        description="Set when the cluster is installed and never changed afterwards.",
    )
    encapsulation: Literal["Auto", "Always"] = Field(
        default="Auto", description="Always forces ESP into UDP 4500; Auto does so behind a NAT."
    )
    geneve_ports: Annotated[tuple[Port, ...], AfterValidator(_check_ports)] = Field(
        default=(6081,),
        min_length=1,
        max_length=16,
        description="UDP destination ports of the overlay.",
    )
    certificates: Certificates = Field(default=Certificates())
    operator: OperatorSection = Field(default=OperatorSection())


class ClusterIPsec(_Strict):
    """IPsec for one cluster network, as it is sealed when the cluster is installed."""

    api_version: Literal["geneveil.io/v1alpha1"]
    kind: Literal["ClusterIPsec"]
    metadata: Metadata
    spec: Spec = Field(default=Spec())


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `10m`, `6h` or `1d`.

    Raises:
        ValueError: anything else.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a time such as 30s, 10m, 6h or 1d")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[text[-1]]
    return timedelta(**{unit: int(text[:-1])})


def to_settings(config: ClusterIPsec) -> ClusterSettings:
    """The part of the configuration that every node is told."""
    spec, certificates = config.spec, config.spec.certificates
    return ClusterSettings(
        name=config.metadata.name,
        mode=Mode(spec.mode),
        encapsulation=Encapsulation(spec.encapsulation),
        geneve_ports=tuple(sorted(spec.geneve_ports)),
        certificates=CertificatePolicy(
            key_type=KeyType(certificates.key_type),
            ca_lifetime=parse_span(certificates.ca_lifetime),
            node_lifetime=parse_span(certificates.node_lifetime),
            renew_after=parse_span(certificates.renew_after),
        ),
    )


def json_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12)."""
    schema = _without_titles(ClusterIPsec.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_titles(schema: Any) -> Any:
    """Generated titles repeat the fields' names in worse spelling; no field is called `title`."""
    if isinstance(schema, dict):
        return {key: _without_titles(value) for key, value in schema.items() if key != "title"}
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    return schema
