"""What the kernel's configuration must be, and what it silently became."""

import pytest

from lab.build.errors import BuildError
from lab.build.kernel import FRAGMENT
from lab.build.kernel_config import check_config, parse_config, parse_wanted


def test_config_has_what_is_set_and_no_more() -> None:
    text = '# a comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="text"\nCONFIG_D=4\n'
    assert parse_config(text) == {"CONFIG_A": "y", "CONFIG_C": '"text"', "CONFIG_D": "4"}


def test_all_as_asked() -> None:
    wanted = {"CONFIG_A": "y", "CONFIG_B": "n"}
    assert check_config(wanted, {"CONFIG_A": "y", "CONFIG_Z": "y"}) == []


@pytest.mark.parametrize(
    ("value", "observed", "said"),
    [
        ("y", {}, "CONFIG_A: wanted y, is n"),
        ("y", {"CONFIG_A": "m"}, "CONFIG_A: wanted y, is m"),
        ("n", {"CONFIG_A": "y"}, "CONFIG_A: wanted n, is y"),
        ("4", {"CONFIG_A": "2"}, "CONFIG_A: wanted 4, is 2"),
    ],
)
def test_what_did_not_come_out_is_said(value: str, observed: dict[str, str], said: str) -> None:
    assert check_config({"CONFIG_A": value}, observed) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CONFIG_A=y\nCONFIG B=y\n", "line 2: not an option"),
        ("CONFIG_A=y\n\nCONFIG_A=n\n", "line 3: named twice"),
    ],
)
def test_a_mistyped_fragment_names_its_line(text: str, said: str) -> None:
    with pytest.raises(BuildError, match=said):
        parse_wanted(text)


def test_our_fragment_asks_for_what_the_encrypted_cluster_network_stands_on() -> None:
    wanted = parse_wanted(FRAGMENT.read_text())
    for name in (
        "GENEVE",
        "OPENVSWITCH",
        "INET_ESP",
        "XFRM_USER",
        "NFT_XFRM",
        "NF_CONNTRACK_ZONES",
    ):
        assert wanted[f"CONFIG_{name}"] == "y"
