"""What is asked of the host, and what people are told when it is not there."""

from dataclasses import replace

import pytest

from lab.build.machine import Machine, judge_machine
from lab.build.prerequisites import NEEDS, Need, plan_installation

FIT = Machine(
    architecture="x86_64",
    user="someone",
    is_root=False,
    namespaces_refused="",
    subordinate_ids=65536,
    tun_refused="",
    memory_mib=8000,
    cpus=2,
)

UNFIT = [
    ("another processor", replace(FIT, architecture="aarch64"), "x86_64"),
    (
        "no user namespaces",
        replace(FIT, namespaces_refused="unshare failed: Operation not permitted"),
        "neither root nor allowed user namespaces: unshare failed: Operation not permitted",
    ),
    (
        "Ubuntu's restriction has its remedy",
        replace(FIT, namespaces_refused="mount: permission denied"),
        "apparmor_restrict_unprivileged_userns",
    ),
    (
        "root in a container",
        replace(FIT, is_root=True, namespaces_refused="Operation not permitted"),
        "privileged",
    ),
    ("no subordinate ids", replace(FIT, subordinate_ids=0), "--add-subuids"),
    ("little memory", replace(FIT, memory_mib=300), "300 MiB"),
]


def test_a_fit_machine_has_no_problems() -> None:
    assert judge_machine(FIT) == []


@pytest.mark.parametrize(("case", "machine", "said"), UNFIT)
def test_each_problem_is_named_with_its_remedy(case: str, machine: Machine, said: str) -> None:
    problems = judge_machine(machine)
    assert len(problems) == 1
    assert said in problems[0].render()
    assert problems[0].exit_status != 0


def test_all_problems_are_found_at_once() -> None:
    assert len(judge_machine(replace(FIT, architecture="riscv64", memory_mib=1))) == 2


def test_packages_are_named_once_with_all_their_reasons() -> None:
    plan = plan_installation(
        [
            Need("a", "tool", "do this"),
            Need("b", "tool", "do that"),
            Need("c", "apart", "do this"),
        ]
    )
    assert plan.packages == ["apart", "tool"]
    assert plan.reasons["tool"] == "do this, do that"
    assert plan.command[-2:] == ["apart", "tool"]


def test_every_need_says_what_for() -> None:
    for need in NEEDS:
        assert need.package
        assert need.why.split()[0].isalpha()
