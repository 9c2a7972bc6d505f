"""When the operator's own certificate is replaced."""

from datetime import UTC, datetime, timedelta

import pytest

from geneveil.model.cluster import KeyType, parse_span
from geneveil.operator.server_identity import (
    ServingPeriod,
    judge_server_file,
    make_server_identity,
    plan_serving,
)
from geneveil.pki.authority import Authority, make_authority
from geneveil.pki.keyfiles import NamedBytes, parse_certificate
from geneveil.pki.keys import make_key

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NAMES = ("geneveil-operator", "central", "192.0.2.10", "2001:db8::1")


def authority_of(life: str = "10y") -> Authority:
    key = make_key(KeyType.ECDSA_P256)
    return make_authority("prod", key, parse_span(life), NOW, bytes(20))


CA = authority_of()
OLD = timedelta(days=30)
PEM = make_server_identity(CA, NAMES, "prod", ServingPeriod(NOW + OLD, NOW + OLD), bytes(20)).pem


@pytest.mark.parametrize(
    ("data", "names", "authority", "days", "reason"),
    [
        (PEM, NAMES, CA, 0, ""),
        (PEM, NAMES, CA, 243, ""),
        (PEM, NAMES, CA, 244, "two thirds of its life have passed"),
        (PEM, NAMES, CA, 366, "it has ended"),
        (PEM, NAMES, CA, -1, "it is not valid yet"),
        (PEM, NAMES[:2], CA, 0, "the operator's names changed"),
        (PEM, NAMES, authority_of(), 0, "another authority signs now"),
        (None, NAMES, CA, 0, "there is none yet"),
        (b"junk", NAMES, CA, 0, "the server's certificate is not PEM"),
        (PEM[:300], NAMES, CA, 0, "the server's certificate holds no certificate that can be read"),
    ],
)
def test_judge(
    data: bytes | None, names: tuple[str, ...], authority: Authority, days: int, reason: str
) -> None:
    at = NOW + OLD + timedelta(days=days)
    period = plan_serving(authority.certificate, at, at)
    assert judge_server_file(data, names, authority.certificate, period) == reason


def test_a_certificate_that_its_authority_cut_short_is_not_replaced_in_vain() -> None:
    short = authority_of("30d")
    pem = make_server_identity(short, NAMES, "prod", ServingPeriod(NOW, NOW), bytes(20)).pem
    at = NOW + timedelta(days=29)
    period = plan_serving(short.certificate, at, at)
    assert judge_server_file(pem, NAMES, short.certificate, period) == ""


@pytest.mark.parametrize("years", [1, 3, 6, 9])
def test_a_clock_that_is_not_believed_gets_a_certificate_that_is_good_by_it_and_without(
    years: int,
) -> None:
    leapt = NOW + OLD + timedelta(days=366 * years)
    period = plan_serving(CA.certificate, NOW + OLD, leapt)
    assert judge_server_file(PEM, NAMES, CA.certificate, period) == "it has ended"
    pem = make_server_identity(CA, NAMES, "prod", period, bytes(20)).pem
    certificate = parse_certificate(NamedBytes("it", pem))
    assert certificate.not_valid_before_utc < NOW + OLD
    assert certificate.not_valid_after_utc > leapt + timedelta(days=30)
    assert judge_server_file(pem, NAMES, CA.certificate, period) == ""
    back = plan_serving(CA.certificate, NOW + OLD, NOW + OLD)
    assert judge_server_file(pem, NAMES, CA.certificate, back) == (
        "it was made while the clock was not believed"
    )


@pytest.mark.parametrize("days", [-3700, 3700, 36000])
def test_where_no_certificate_could_be_good_the_one_that_there_is_stays(days: int) -> None:
    at = NOW + OLD + timedelta(days=days)
    period = plan_serving(CA.certificate, min(at, NOW + OLD), at)
    pem = make_server_identity(CA, NAMES, "prod", ServingPeriod(NOW, NOW), bytes(20)).pem
    assert judge_server_file(pem, NAMES, CA.certificate, period) == ""
