"""The command line that keeps a program apart."""

import pytest

from lab.build.contain import Contain, contained


@pytest.mark.parametrize("need", list(Contain))
@pytest.mark.parametrize("is_root", [True, False])
def test_every_program_ends_with_its_starter(need: Contain, is_root: bool) -> None:
    line = contained(["make", "-j2"], need, is_root=is_root)
    assert line[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert "--kill-child=SIGKILL" in line
    assert line[-3:] == ["--", "make", "-j2"]


@pytest.mark.parametrize("need", list(Contain))
def test_root_needs_no_user_namespace_and_others_do(need: Contain) -> None:
    assert "--user" not in contained(["true"], need, is_root=True)
    assert "--user" in contained(["true"], need, is_root=False)


def test_only_packages_get_other_users() -> None:
    given = {need: contained(["true"], need, is_root=False) for need in Contain}
    assert [need for need in Contain if "--map-auto" in given[need]] == [Contain.PACKAGES]
    assert "--map-current-user" in given[Contain.PLAIN]
    assert "--mount" not in given[Contain.PLAIN]
