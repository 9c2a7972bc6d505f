"""The ratchet: what may be given to a cluster that was sealed before."""

from dataclasses import replace

import pytest

from geneveil.model.errors import RefusedError, TrustError
from geneveil.operator.config_check import parse_config
from geneveil.operator.seal import Seal, check_change, make_seal, open_seal

HEAD = "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata: {name: prod}\n"


def seal(spec: str = "{}", head: str = HEAD) -> Seal:
    return make_seal(parse_config(f"{head}spec: {spec}\n", "cluster.yaml"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{}", "{mode: Disabled}"),
        ("{mode: Full}", "{mode: Full, certificates: {caLifetime: 120mo, renewAfter: 4y6mo}}"),
        ("{genevePorts: [1, 2]}", "{genevePorts: [2, 1]}"),
    ],
)
def test_the_same_in_other_words_is_the_same(one: str, other: str) -> None:
    assert seal(one) == seal(other)
    check_change(seal(one), seal(other))


@pytest.mark.parametrize(
    ("old", "new", "reason", "words"),
    [
        (
            "{}",
            "{mode: Full}",
            "mode-sealed",
            "IPsec can be switched on only while the cluster is installed",
        ),
        ("{mode: Full}", "{}", "mode-sealed", "never off again"),
        (
            "{mode: Full}",
            "{mode: Disabled, genevePorts: [6082]}",
            "mode-sealed",
            "spec.mode stays Full",
        ),
        (
            "{mode: Full}",
            "{mode: Full, genevePorts: [6082], encapsulation: Always}",
            "configuration-sealed",
            'spec.encapsulation is "Auto", not "Always"; spec.genevePorts is [6081], not [6082]',
        ),
    ],
)
def test_a_change_is_refused(old: str, new: str, reason: str, words: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_change(seal(old), seal(new))
    assert caught.value.reason == reason
    assert words in caught.value.render()
    assert "nothing was changed" in caught.value.render()


def test_another_cluster_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"metadata\.name"):
        check_change(seal(), seal(head=HEAD.replace("prod", "test")))


def test_a_seal_opens_to_what_was_sealed() -> None:
    sealed = seal("{mode: Full, genevePorts: [7000, 6081]}")
    assert make_seal(open_seal(sealed)) == sealed


def test_a_broken_seal_does_not_open() -> None:
    sealed = seal("{mode: Full}")
    with pytest.raises(TrustError, match="changed on the disk"):
        open_seal(replace(sealed, canonical=sealed.canonical.replace("Full", "Disabled")))
