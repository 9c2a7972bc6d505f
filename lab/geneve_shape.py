"""What tells Geneve from all else on the underlay, whichever UDP port it goes to: its own shape.

A pcap-filter(7) expression, for the witness. Ports alone would not do: Open vSwitch sends Geneve to
any port that it is told, and what it was told may be what went wrong.

RFC 8926, 3.4: two bits of version (0), six of the options' length; flags O and C and six reserved
bits (0); the protocol, which is 0x6558, Ethernet, for all that Open vSwitch tunnels; the VNI; a
reserved byte (0). Of ESP in UDP 4500 (RFC 3948, 2.2: an SPI, a sequence number) one SA in sixteen
million looks so, and of its packets one in 256.

Looked at are UDP right behind an IPv4 header, with options or without, right behind an IPv6 header,
and in an IPv6 packet's first fragment. UDP behind another extension header of IPv6 is not: no
kernel puts Geneve there, and pcap-filter(7) cannot follow the chain.

So is what an ICMP error quotes, up to 548 bytes of what a pod said (RFC 792; RFC 4443, 3.1), behind
8 bytes of its own and an IPv4 header without options, or an IPv6 header.
"""

from lab.topology import GENEVE_PORT

_ETHERNET_IN_GENEVE = 0x6558
_UDP, _FRAGMENT, _ICMPV6 = 17, 44, 58
_UDP_HEADER_BYTES, _IPV6_HEADER_BYTES, _FRAGMENT_HEADER_BYTES = 8, 40, 8
_IPV4_HEADER_BYTES, _ICMP_HEADER_BYTES = 20, 8


def _shape(header: str, begin: int) -> str:
    """Geneve's fixed header, so many bytes behind the beginning of another."""
    return (
        f"{header}[{begin}] & 0xc0 = 0 and {header}[{begin + 1}] & 0x3f = 0"
        f" and {header}[{begin + 2}:2] = {_ETHERNET_IN_GENEVE:#x} and {header}[{begin + 7}] = 0"
    )


_IN_IPV6 = _IPV6_HEADER_BYTES + _UDP_HEADER_BYTES
_IN_FRAGMENT = _IN_IPV6 + _FRAGMENT_HEADER_BYTES
_IPV4 = f"ip and udp and {_shape('udp', _UDP_HEADER_BYTES)}"
_IPV6 = f"ip6 and ip6[6] = {_UDP} and {_shape('ip6', _IN_IPV6)}"
_FIRST_FRAGMENT = (
    f"ip6 and ip6[6] = {_FRAGMENT} and ip6[40] = {_UDP} and ip6[42:2] & 0xfff8 = 0"
    f" and {_shape('ip6', _IN_FRAGMENT)}"
)


def _quoted(header: str, ip: int, protocol: int, ip_bytes: int) -> str:
    """Geneve in an IP packet that begins so many bytes behind the beginning of a header."""
    udp = ip + ip_bytes
    return (
        f"{header}[{ip + protocol}] = {_UDP} and ({header}[{udp + 2}:2] = {GENEVE_PORT}"
        f" or ({_shape(header, udp + _UDP_HEADER_BYTES)}))"
    )


_ICMP_ERROR = f"icmp and {_quoted('icmp', _ICMP_HEADER_BYTES, 9, _IPV4_HEADER_BYTES)}"
_IN_ICMPV6 = _IPV6_HEADER_BYTES + _ICMP_HEADER_BYTES
_ICMPV6_ERROR = (
    f"ip6 and ip6[6] = {_ICMPV6} and {_quoted('ip6', _IN_ICMPV6, 6, _IPV6_HEADER_BYTES)}"
)
GENEVE = f"(udp dst port {GENEVE_PORT} or ({_IPV4}) or ({_IPV6}) or ({_FIRST_FRAGMENT})"
GENEVE += f" or ({_ICMP_ERROR}) or ({_ICMPV6_ERROR}))"
"""Whatever goes to Geneve's own port, what looks like Geneve on any other, and either quoted."""
