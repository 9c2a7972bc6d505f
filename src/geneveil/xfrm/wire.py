"""XFRM netlink dumps to values. Pure; key bytes are never copied out of the message.

Layouts, all in host byte order except where it says be:

    nlmsghdr (include/uapi/linux/netlink.h)
        u32 len, u16 type, u16 flags, u32 seq, u32 pid
    nlattr
        u16 len, u16 type; padded to 4
    xfrm_selector, 56 bytes (include/uapi/linux/xfrm.h, as all below)
        16 daddr, 16 saddr, be16 dport, dport_mask, sport, sport_mask, u16 family,
        u8 prefixlen_d, prefixlen_s, proto, 3 pad, s32 ifindex, u32 user
    xfrm_usersa_info, 224 bytes
        0 selector; 56 xfrm_id: 16 daddr, be32 spi, u8 proto, 3 pad; 80: 16 saddr;
        96 xfrm_lifetime_cfg: 8 u64; 160 xfrm_lifetime_cur: u64 bytes, packets, add_time, use_time;
        192 xfrm_stats: u32 replay_window, replay, integrity_failed; 204: u32 seq, u32 reqid,
        u16 family, u8 mode, u8 replay_window, u8 flags; padded to 8
    xfrm_userpolicy_info, 168 bytes
        0 selector; 56 lifetime_cfg; 120 lifetime_cur; 152: u32 priority, u32 index, u8 dir,
        u8 action, u8 flags, u8 share; padded to 8
    xfrm_user_tmpl, 64 bytes
        xfrm_id as above; u16 family, 2 pad, 16 saddr, u32 reqid, u8 mode, share, optional, 1 pad,
        u32 aalgos, ealgos, calgos
    xfrm_algo_aead, xfrm_algo_auth
        64 name, u32 key length in bits, u32 ICV length in bits, then the key
    xfrm_algo
        64 name, u32 key length in bits, then the key
    xfrm_usersa_id, 24 bytes
        16 daddr, be32 spi, u16 family, u8 proto; padded to 8
    xfrm_encap_tmpl
        u16 type, be16 sport, be16 dport, 2 pad, 16 oa
    xfrm_replay_state_esn
        u32 bmp_len, oseq, seq, oseq_hi, seq_hi, replay_window, then the bitmap
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from geneveil.model.errors import KernelError
from geneveil.model.xfrm import (
    XfrmAlgorithm,
    XfrmDirection,
    XfrmEncapsulation,
    XfrmLifetime,
    XfrmMode,
    XfrmPolicy,
    XfrmSelector,
    XfrmState,
    XfrmTemplate,
)

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTERRUPTED = 0x010
NLM_F_DUMP = 0x300

XFRM_MSG_NEWSA = 0x10
XFRM_MSG_DELSA = 0x11
XFRM_MSG_GETSA = 0x12
XFRM_MSG_NEWPOLICY = 0x13
XFRM_MSG_GETPOLICY = 0x15

XFRMA_ALG_AUTH = 1
XFRMA_ALG_CRYPT = 2
XFRMA_ENCAP = 4
XFRMA_TMPL = 5
XFRMA_ALG_AEAD = 18
XFRMA_ALG_AUTH_TRUNC = 20
XFRMA_REPLAY_ESN_VAL = 23

XFRM_STATE_ESN = 0x80
XFRM_POLICY_ALLOW = 0
AF_INET = 2
AF_INET6 = 10

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SELECTOR = struct.Struct("=16s16s2s2s2s2sHBBB3xiI")
_ID = struct.Struct("=16s4sB3x")
_LIFETIME = struct.Struct("=8Q")
_COUNTERS = struct.Struct("=4Q")
_STATE_TAIL = struct.Struct("=IIIIIHBBB")
_POLICY_TAIL = struct.Struct("=IIBBBB")
_TEMPLATE = struct.Struct("=16s4sB3xH2x16sIBBBx12x")
_REPLAY_ESN = struct.Struct("=6I")
_STATE_ID = struct.Struct("=16s4sHBx")

_STATE_SIZE = 224
_POLICY_SIZE = 168
_NAME_SIZE = 64


@dataclass(frozen=True)
class Reply:
    """One received datagram, taken apart: the payloads, and whether the dump has ended."""

    payloads: tuple[bytes, ...]
    is_done: bool
    is_interrupted: bool


def encode_dump_request(message_type: int, sequence: int) -> bytes:
    """Ask for every state (XFRM_MSG_GETSA) or policy (XFRM_MSG_GETPOLICY).

    No state or policy is named: what follows the header of a dump of states, the kernel reads as
    attributes that filter, and it complains in its log of what is none (xfrm_dump_sa).
    """
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return _HEADER.pack(_HEADER.size, message_type, flags, sequence, 0)


def encode_delete_request(destination: str, spi: int, protocol: int, sequence: int) -> bytes:
    """Ask to delete exactly one state (XFRM_MSG_DELSA), and for an answer."""
    address = ip_address(destination)
    family = AF_INET6 if address.version == 6 else AF_INET
    payload = _STATE_ID.pack(address.packed.ljust(16, b"\0"), spi.to_bytes(4), family, protocol)
    flags = NLM_F_REQUEST | NLM_F_ACK
    size = _HEADER.size + len(payload)
    return _HEADER.pack(size, XFRM_MSG_DELSA, flags, sequence, 0) + payload


def parse_reply(datagram: bytes, wanted_type: int, sequence: int) -> Reply:
    """Take one datagram of a dump apart.

    Raises:
        KernelError: the kernel reports an error, or the bytes are no such reply.
    """
    payloads: list[bytes] = []
    is_done = is_interrupted = False
    offset = 0
    while offset < len(datagram):
        length, kind, flags, got_sequence, _pid = _unpack(_HEADER, datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            raise KernelError("cannot read the IPsec database", why="a cut netlink message")
        payload = datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
        if got_sequence != sequence:
            continue  # of an earlier request that was given up
        is_interrupted = is_interrupted or bool(flags & NLM_F_DUMP_INTERRUPTED)
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            _check_errno(payload)
            is_done = True
        elif kind == wanted_type:
            payloads.append(payload)
    return Reply(tuple(payloads), is_done, is_interrupted)


def parse_state(payload: bytes) -> XfrmState:
    """One XFRM_MSG_NEWSA payload."""
    selector_family, selector = _parse_selector(payload)
    destination, spi, protocol = _unpack(_ID, payload, 56)
    lifetime = _unpack(_LIFETIME, payload, 96)
    carried_bytes, carried_packets, added_at, _used_at = _unpack(_COUNTERS, payload, 160)
    tail = _unpack(_STATE_TAIL, payload, 192)
    _window, replayed, failed, _seq, reqid, family, mode, replay_window, flags = tail
    family = family or selector_family
    attributes = dict(_attributes(payload, _STATE_SIZE))
    esn = attributes.get(XFRMA_REPLAY_ESN_VAL)
    return XfrmState(
        source=_address(payload[80:96], family),
        destination=_address(destination, family),
        spi=int.from_bytes(spi),
        protocol=protocol,
        reqid=reqid,
        mode=_mode(mode),
        selector=selector,
        aead=_algorithm(attributes.get(XFRMA_ALG_AEAD), has_icv=True),
        encryption=_algorithm(attributes.get(XFRMA_ALG_CRYPT), has_icv=False),
        authentication=_algorithm(attributes.get(XFRMA_ALG_AUTH_TRUNC), has_icv=True)
        or _algorithm(attributes.get(XFRMA_ALG_AUTH), has_icv=False),
        esn=bool(flags & XFRM_STATE_ESN),
        replay_window_packets=_unpack(_REPLAY_ESN, esn, 0)[5] if esn else replay_window,
        encapsulation=_encapsulation(attributes.get(XFRMA_ENCAP)),
        lifetime=XfrmLifetime(soft_add_seconds=lifetime[4], hard_add_seconds=lifetime[5]),
        added_at_seconds=added_at,
        bytes=carried_bytes,
        packets=carried_packets,
        replayed_packets=replayed,
        failed_packets=failed,
    )


def parse_policy(payload: bytes) -> XfrmPolicy:
    """One XFRM_MSG_NEWPOLICY payload."""
    _family, selector = _parse_selector(payload)
    tail = _unpack(_POLICY_TAIL, payload, 152)
    priority, index, direction, action, _flags, _share = tail
    attributes = dict(_attributes(payload, _POLICY_SIZE))
    return XfrmPolicy(
        selector=selector,
        direction=_direction(index, direction),
        priority=priority,
        index=index,
        allows=action == XFRM_POLICY_ALLOW,
        templates=tuple(_templates(attributes.get(XFRMA_TMPL, b""))),
    )


def _parse_selector(payload: bytes) -> tuple[int, XfrmSelector]:
    fields = _unpack(_SELECTOR, payload, 0)
    daddr, saddr, dport, dport_mask, sport, sport_mask, family, bits_d, bits_s, proto = fields[:10]
    selector = XfrmSelector(
        source=_address(saddr, family),
        source_prefix_bits=bits_s,
        destination=_address(daddr, family),
        destination_prefix_bits=bits_d,
        protocol=proto,
        source_port=int.from_bytes(sport),
        source_port_mask=int.from_bytes(sport_mask),
        destination_port=int.from_bytes(dport),
        destination_port_mask=int.from_bytes(dport_mask),
    )
    return family, selector


def _templates(data: bytes) -> Iterator[XfrmTemplate]:
    for offset in range(0, len(data), _TEMPLATE.size):
        fields = _unpack(_TEMPLATE, data, offset)
        destination, spi, protocol, family, source, reqid, mode, _share, optional = fields
        yield XfrmTemplate(
            source=_address(source, family),
            destination=_address(destination, family),
            spi=int.from_bytes(spi),
            protocol=protocol,
            reqid=reqid,
            mode=_mode(mode),
            optional=bool(optional),
        )


def _attributes(payload: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size or offset + length > len(payload):
            raise KernelError("cannot read the IPsec database", why="a cut netlink attribute")
        yield kind, payload[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _algorithm(data: bytes | None, *, has_icv: bool) -> XfrmAlgorithm | None:
    if data is None:
        return None
    key_bits, icv_bits = _unpack(struct.Struct("=II"), data.ljust(_NAME_SIZE + 8), _NAME_SIZE)
    name = data[:_NAME_SIZE].split(b"\0", 1)[0].decode("ascii", "replace")
    return XfrmAlgorithm(name, key_bits, icv_bits if has_icv else 0)


def _encapsulation(data: bytes | None) -> XfrmEncapsulation | None:
    if data is None:
        return None
    kind, source, destination = _unpack(struct.Struct("=H2s2s"), data, 0)
    return XfrmEncapsulation(kind, int.from_bytes(source), int.from_bytes(destination))


def _address(data: bytes, family: int) -> str:
    return str(IPv6Address(data) if family == AF_INET6 else IPv4Address(data[:4]))


def _mode(number: int) -> XfrmMode:
    return XfrmMode(number) if number in (0, 1) else XfrmMode.OTHER


def _direction(index: int, direction: int) -> XfrmDirection:
    # Policies of sockets carry their direction in the index as well, offset by 3
    # (net/xfrm/xfrm_user.c, verify_newpolicy_info; include/net/xfrm.h, XFRM_POLICY_MAX).
    if (index & 7) >= 3 or direction not in (0, 1, 2):
        return XfrmDirection.OTHER
    return XfrmDirection(direction)


def parse_errno(datagram: bytes) -> int:
    """The error number in an acknowledgement; 0: it was done."""
    _length, kind, _flags, _sequence, _pid = _unpack(_HEADER, datagram, 0)
    if kind != NLMSG_ERROR:
        raise KernelError("cannot change the IPsec database", why="no acknowledgement came")
    return -int(_unpack(struct.Struct("=i"), datagram, _HEADER.size)[0])


def _check_errno(payload: bytes) -> None:
    code = int.from_bytes(payload[:4], sys.byteorder, signed=True) if payload else 0
    if code:
        raise KernelError(
            "cannot read the IPsec database",
            why=f"the kernel answered with error {-code}",
            remedy="run as root on a kernel with XFRM (CONFIG_XFRM_USER)",
        )


def _unpack(layout: struct.Struct, data: bytes, offset: int) -> tuple[Any, ...]:
    try:
        return layout.unpack_from(data, offset)
    except struct.error as error:
        raise KernelError("cannot read the IPsec database", why=str(error)) from None
