"""What a client says when the machine, not the key, is what is lacking."""

import errno
import os
from datetime import UTC, datetime

import pytest

from geneveil.enroll.io import node_context
from geneveil.enroll.port import NodeCredential
from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.errors import OperatorUnreachableError, TrustError
from geneveil.pki.authority import encode_certificate, make_authority
from geneveil.pki.keys import encode_key, make_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = make_key(KeyType.ECDSA_P256)
BUNDLE = encode_certificate(
    make_authority("test", KEY, CalendarSpan(120), NOW, b"\x07" * 20).certificate
)


def test_a_machine_out_of_files_is_not_a_key_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str, flags: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(OperatorUnreachableError) as caught:
        node_context(BUNDLE, NodeCredential(encode_key(KEY), BUNDLE))
    assert "LimitNOFILE" in caught.value.remedy
    assert caught.value.retryable


def test_a_key_that_does_not_fit_is() -> None:
    other = encode_key(make_key(KeyType.ECDSA_P256))
    node_context(BUNDLE, NodeCredential(encode_key(KEY), BUNDLE))
    with pytest.raises(TrustError):
        node_context(BUNDLE, NodeCredential(other, BUNDLE))
