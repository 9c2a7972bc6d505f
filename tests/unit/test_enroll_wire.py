"""Join tokens and messages."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.enroll.port import Enrolment, JoinToken
from geneveil.enroll.settings import parse_settings, settings_document
from geneveil.enroll.wire import (
    encode_credential,
    encode_token,
    enrol_request_document,
    enrolment_document,
    is_operator_url,
    parse_credential,
    parse_enrol_request,
    parse_enrolment,
    parse_refusal,
    parse_token,
)
from geneveil.model.cluster import (
    CalendarSpan,
    CertificatePolicy,
    ClusterSettings,
    Encapsulation,
    KeyType,
    Mode,
)
from geneveil.model.errors import ConfigError

TOKEN = JoinToken(
    "node-1", bytes(range(8)), bytes(range(32)), b"\xff" * 32, "https://192.0.2.10:9443"
)
TEXT = encode_token(TOKEN)
PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
SETTINGS = ClusterSettings(
    "prod",
    Mode.FULL,
    Encapsulation.ALWAYS,
    (6081, 6082),
    CertificatePolicy(
        KeyType.RSA_3072, CalendarSpan(0, 30), CalendarSpan(0, 2), CalendarSpan(0, 1)
    ),
)


def test_the_format_is_written_down() -> None:
    body = base64.urlsafe_b64decode(TEXT.removeprefix("gvt1_") + "=" * (-len(TEXT[5:]) % 4))
    assert body[:-4] == (
        TOKEN.identifier + TOKEN.secret + TOKEN.ca_pin + b"\x06node-1https://192.0.2.10:9443"
    )
    assert body[-4:] == hashlib.sha256(body[:-4]).digest()[:4]
    assert TEXT.endswith("Bm5vZGUtMWh0dHBzOi8vMTkyLjAuMi4xMDo5NDQzrdnX_w")


NAMES = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
URLS = st.sampled_from(["", "https://a", "https://a.b:1", "https://[2001:db8::1]:9443"])


@given(
    st.builds(
        JoinToken,
        NAMES,
        st.binary(min_size=8, max_size=8),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=32),
        URLS,
    )
)
def test_a_token_is_read_as_it_was_written(token: JoinToken) -> None:
    text = encode_token(token)
    assert text.isascii()
    assert parse_token(f" {text}\n") == token


@given(st.integers(0, len(TEXT) - 1), st.sampled_from("AZaz09_-+/= é"))
def test_every_mistyped_character_is_noticed(position: int, char: str) -> None:
    text = TEXT[:position] + char + TEXT[position + 1 :]
    if text.strip() != TEXT:
        with pytest.raises(ConfigError, match="not a join token"):
            parse_token(text)


@pytest.mark.parametrize("text", ["", "gvt1_", "gvt1_AAAA", "gvt2_AAAA", TEXT[:-1], TEXT * 20])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(ConfigError, match="not a join token") as caught:
        parse_token(text)
    assert text == "" or text not in caught.value.render()


def test_a_token_does_not_show_its_secret() -> None:
    assert repr(TOKEN) == "JoinToken(chassis='node-1', identifier='0001020304050607')"


def test_the_credential_is_the_part_that_is_sent() -> None:
    text = encode_credential(TOKEN.identifier, TOKEN.secret)
    assert parse_credential(text) == ("0001020304050607", TOKEN.secret)
    for wrong in (
        "",
        "x",
        text[:-1],
        text + "A",
        "A" + text[1:],
        text.replace(".", ":"),
        text[:-1] + "9",
    ):
        assert parse_credential(wrong) is None


def test_messages_are_read_as_they_were_written() -> None:
    request = parse_enrol_request(enrol_request_document(TOKEN, b"csr"))
    assert request == (encode_credential(TOKEN.identifier, TOKEN.secret), "csr")
    enrolment = Enrolment(PEM, PEM * 2, SETTINGS)
    assert parse_enrolment(enrolment_document(enrolment)) == enrolment


@pytest.mark.parametrize("settings", [ClusterSettings(), SETTINGS])
def test_settings_are_read_as_they_were_written(settings: ClusterSettings) -> None:
    assert parse_settings(settings_document(settings)) == settings
    newer = {**settings_document(settings), "more": "from a newer operator"}
    assert parse_settings(newer) == settings


@pytest.mark.parametrize("field", ["name", "mode", "encapsulation", "genevePorts", "certificates"])
@pytest.mark.parametrize("value", ["missing", None, 1, "x", [], {}, [0], [True], ["6081"]])
def test_settings_are_never_guessed(field: str, value: object) -> None:
    document = {**settings_document(SETTINGS), field: value}
    if value == "missing":
        del document[field]
    elif field == "name" and value == "x":
        return
    with pytest.raises(ValueError, match=r"missing|not"):
        parse_settings(document)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"reason": "x"},
        {"reason": 1, "message": "x"},
        {"reason": "a b", "message": "x"},
    ],
)
def test_a_refusal_has_a_shape(document: object) -> None:
    with pytest.raises(ValueError, match=r"missing|not"):
        parse_refusal(document)


def test_a_refusal_is_made_printable() -> None:
    assert parse_refusal({"reason": "x-1", "message": "a\x1b[31mb\n"}) == ("x-1", "a?[31mb?")


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://central:9443", True),
        ("https://192.0.2.10", True),
        ("https://[2001:db8::1]:9443/", True),
        ("http://central:9443", False),
        ("https://", False),
        ("https://user@central", False),
        ("https://central/path", False),
        ("https://central:9443?x", False),
        ("https://a b", False),
        ("", False),
    ],
)
def test_operator_urls(url: str, answer: bool) -> None:
    assert is_operator_url(url) is answer
