"""Pure: how long a pod's packet may be so that the underlay carries it in one piece.

Byte by byte, from the outside in, for a pod's IP packet of L bytes:

    outer IPv4 header                20     (IPv6: 40)                  RFC 791, RFC 8200
    [UDP 4500 header                  8     only with NAT-T]            RFC 3948
    ESP: SPI 4 + sequence number 4    8                                 RFC 4303, 2
    ESP: AES-GCM's explicit IV        8                                 RFC 4106, 3.1
      encrypted from here
      UDP header of Geneve            8
      Geneve header                   8                                 RFC 8926, 3.4
      OVN's Geneve option             8     4 of header + 4 of data     ovn-architecture(7)
      inner Ethernet header          14
      the pod's IP packet             L
      ESP padding                   0-3     so that what is encrypted, with the next two bytes,
                                            is a multiple of 4          RFC 4303, 2.4
      ESP: pad length 1 + next 1      2
    ESP: integrity check value       16                                 RFC 4106, 6

Without IPsec the lines of ESP and NAT-T fall away.
"""

from dataclasses import dataclass

from geneveil.model.cluster import Encapsulation
from geneveil.model.errors import ConfigError

OUTER_IPV4_BYTES = 20
OUTER_IPV6_BYTES = 40
UDP_BYTES = 8
GENEVE_BYTES = 8
OVN_OPTION_BYTES = 8
INNER_ETHERNET_BYTES = 14
ESP_HEADER_BYTES = 8
ESP_IV_BYTES = 8
ESP_TRAILER_BYTES = 2
ESP_ALIGNMENT_BYTES = 4
ESP_ICV_BYTES = 16
NAT_T_BYTES = 8
# RFC 791: every IPv4 host takes 576 bytes; RFC 8200: every IPv6 link carries 1280.
_POD_MTU_MIN_BYTES = 576


@dataclass(frozen=True)
class Overlay:
    """What the MTU depends on.

    Attributes:
        underlay_mtu_bytes: MTU of the nodes' underlay interfaces.
        ipv6: the outer header is IPv6.
        ipsec: Geneve rides in ESP.
        encapsulation: AUTO leaves room for NAT-T too, because IKE may find that it is needed.
    """

    underlay_mtu_bytes: int = 1500
    ipv6: bool = False
    ipsec: bool = True
    encapsulation: Encapsulation = Encapsulation.AUTO


def outer_packet_bytes(overlay: Overlay, pod_packet_bytes: int, *, nat_t: bool) -> int:
    """Length on the wire, from the outer IP header on, of one pod packet."""
    geneve = UDP_BYTES + GENEVE_BYTES + OVN_OPTION_BYTES + INNER_ETHERNET_BYTES + pod_packet_bytes
    ip = OUTER_IPV6_BYTES if overlay.ipv6 else OUTER_IPV4_BYTES
    if not overlay.ipsec:
        return ip + geneve
    unaligned = geneve + ESP_TRAILER_BYTES
    encrypted = -(-unaligned // ESP_ALIGNMENT_BYTES) * ESP_ALIGNMENT_BYTES
    esp = ESP_HEADER_BYTES + ESP_IV_BYTES + encrypted + ESP_ICV_BYTES
    return ip + (NAT_T_BYTES if nat_t else 0) + esp


def longest_pod_packet_bytes(overlay: Overlay, *, nat_t: bool) -> int:
    """The longest pod packet that the underlay carries in one piece; 0 if none fits."""
    mtu = overlay.underlay_mtu_bytes
    while mtu > 0 and outer_packet_bytes(overlay, mtu, nat_t=nat_t) > overlay.underlay_mtu_bytes:
        mtu -= 1
    return mtu


def pod_mtu_bytes(overlay: Overlay) -> int:
    """The longest pod packet that crosses in one piece, whatever IKE finds on the way.

    With IPsec there is always room for NAT-T: ALWAYS uses it, AUTO may have to. IPv4 and 1500
    bytes below give 1442 without IPsec, 1400 with it (1408 would fit as long as there is no NAT).

    Raises:
        ConfigError: the underlay is so narrow that pods could not have 576 bytes.
    """
    mtu = longest_pod_packet_bytes(overlay, nat_t=True)
    if mtu < _POD_MTU_MIN_BYTES:
        raise ConfigError(
            f"an underlay MTU of {overlay.underlay_mtu_bytes} leaves pods {max(mtu, 0)} bytes",
            remedy=f"pods need {_POD_MTU_MIN_BYTES}: raise the underlay's MTU",
        )
    return mtu
