"""What stands on a CRL, when a new one is made, and that it says so in RFC 5280's words."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.operator.clock_leap import LEAP
from geneveil.pki.authority import make_authority
from geneveil.pki.crl import (
    KEPT_AFTER_END,
    REFRESH,
    VALIDITY,
    CrlState,
    RevocationReason,
    RevokedCertificate,
    encode_crl,
    explain_new_crl,
    list_entries,
    make_crl,
    read_crl_state,
)
from geneveil.pki.keys import PublicKey, make_key

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
END = NOW + timedelta(days=100)


def revoked(
    number: int, reason: RevocationReason = RevocationReason.UNSPECIFIED
) -> RevokedCertificate:
    return RevokedCertificate(f"{number:040x}", NOW, END, reason)


@pytest.mark.parametrize("key_type", list(KeyType))
def test_a_list_says_everything(key_type: KeyType) -> None:
    authority = make_authority("prod", make_key(key_type), CalendarSpan(120), NOW, bytes(20))
    later = NOW + timedelta(days=1)
    entries = [revoked(number, reason) for number, reason in enumerate(RevocationReason, 1)]
    crl = x509.load_pem_x509_crl(encode_crl(make_crl(authority, 7, entries, later)))
    key = authority.certificate.public_key()
    assert isinstance(key, PublicKey)
    assert crl.is_signature_valid(key)
    assert crl.issuer == authority.certificate.subject
    identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert identifier.key_identifier == subject.value.digest
    assert crl.last_update_utc == later - timedelta(minutes=5)
    assert crl.next_update_utc == crl.last_update_utc + VALIDITY
    for entry, found in zip(entries, crl, strict=True):
        assert found.revocation_date_utc == NOW
        if entry.reason is RevocationReason.UNSPECIFIED:
            assert not list(found.extensions)
        else:
            reason = found.extensions.get_extension_for_class(x509.CRLReason).value.reason
            assert reason.value == entry.reason.value
    state = read_crl_state(encode_crl(crl))
    assert (state.number, state.serials) == (7, frozenset(entry.serial for entry in entries))


def test_entries_stay_until_their_end_and_a_list_longer() -> None:
    entries = (revoked(2), revoked(1))
    for at in (NOW, END, END + KEPT_AFTER_END - timedelta(seconds=1)):
        assert list_entries(entries, at) == (revoked(1), revoked(2))
    assert list_entries(entries, END + KEPT_AFTER_END) == ()


STATE = CrlState(3, NOW, NOW + VALIDITY, frozenset({revoked(1).serial}))


@pytest.mark.parametrize(
    ("state", "entries", "at", "reason"),
    [
        (None, (), NOW, "there is none yet"),
        (STATE, (revoked(1),), NOW, ""),
        (STATE, (), NOW, ""),
        (STATE, (revoked(1), revoked(2)), NOW, "a certificate was revoked"),
        (STATE, (revoked(1),), NOW + REFRESH, "a week has passed"),
        (STATE, (revoked(1),), NOW - timedelta(seconds=1), "it is not valid yet"),
    ],
)
def test_when_a_new_one_is_made(
    state: CrlState | None, entries: tuple[RevokedCertificate, ...], at: datetime, reason: str
) -> None:
    assert explain_new_crl(state, entries, at, NOW - timedelta(days=1)) == reason


def test_a_list_of_an_authority_that_is_not_valid_yet_is_not_made_again_and_again() -> None:
    assert explain_new_crl(STATE, (revoked(1),), NOW - timedelta(days=1), NOW) == ""
    assert explain_new_crl(STATE, (revoked(2),), NOW - timedelta(days=1), NOW)


def test_a_list_is_replaced_long_before_it_ends() -> None:
    assert REFRESH * 3 < VALIDITY
    assert KEPT_AFTER_END >= LEAP + REFRESH  # also by a clock that is that much ahead
