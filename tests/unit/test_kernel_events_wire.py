"""Notifications of the kernel: which of them are a reason to look."""

import struct

import pytest

from geneveil.kernel_events.wire import Reading, TableChange, read_tables, takes_away
from geneveil.model.errors import KernelError
from geneveil.netlink.wire import parse_messages, parse_text

NFT = 10 << 8
DELTABLE, NEWRULE, NEWGEN = 2, 6, 15


def message(kind: int, payload: bytes) -> bytes:
    whole = struct.pack("=IHHII", 16 + len(payload), kind, 0, 7, 99) + payload
    return whole + bytes(-len(whole) % 4)


def attribute(kind: int, data: bytes) -> bytes:
    whole = struct.pack("=HH", 4 + len(data), kind) + data
    return whole + bytes(-len(whole) % 4)


def touched(kind: int, table: str) -> bytes:
    return message(NFT | kind, bytes([1, 0, 0, 0]) + attribute(1, table.encode() + b"\0"))


def ended(pid: int, name: str) -> bytes:
    parts = attribute(1, struct.pack(">I", 5)) + attribute(2, struct.pack(">I", pid))
    return message(NFT | NEWGEN, bytes(4) + parts + attribute(3, name.encode() + b"\0"))


CASES = {
    "ours": ([touched(DELTABLE, "geneveil") + ended(123, "nft")], False, TableChange(123, "nft")),
    "in two datagrams": (
        [touched(NEWRULE, "geneveil"), touched(NEWRULE, "other"), ended(5, "evil\x1b[2J")],
        False,
        TableChange(5, "evil?[2J"),
    ),
    "of others": ([touched(DELTABLE, "kube-proxy") + ended(1, "kube-proxy")], False, None),
    "a longer name": ([touched(DELTABLE, "geneveil2") + ended(1, "nft")], False, None),
    "no end yet": ([touched(DELTABLE, "geneveil")], True, TableChange()),
    "another family of netlink": ([message(0x0100, bytes(20))], False, None),
}


@pytest.mark.parametrize(("datagrams", "is_open", "change"), CASES.values(), ids=CASES.keys())
def test_changes_of_our_table(
    datagrams: list[bytes], is_open: bool, change: TableChange | None
) -> None:
    assert read_tables(datagrams, "geneveil", is_open=False) == Reading(is_open, change)


def test_a_transaction_that_began_before_ends_with_its_author() -> None:
    reading = read_tables([ended(9, "nft")], "geneveil", is_open=True)
    assert reading == Reading(False, TableChange(9, "nft"))


@pytest.mark.parametrize(
    ("kind", "looks"),
    [(0x10, False), (0x11, True), (0x13, False), (0x14, True), (0x19, True), (0x1A, False),
     (0x1C, True), (0x1D, True)],
)  # fmt: skip
def test_what_takes_something_away_is_a_reason_to_look(kind: int, looks: bool) -> None:
    assert takes_away([message(0x10, b""), message(kind, b"")]) is looks


@pytest.mark.parametrize("cut", [1, 15, 17, 20])
def test_cut_bytes_are_an_error(cut: int) -> None:
    with pytest.raises(KernelError, match="cut"):
        list(parse_messages(message(0x10, bytes(8))[:cut]))


def test_texts_end_at_the_zero_and_are_made_harmless() -> None:
    assert parse_text(b"nft\0rest") == "nft"
    assert parse_text(b"a\nb\x7f") == "a?b?"
