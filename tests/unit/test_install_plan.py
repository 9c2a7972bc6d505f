"""What an installation would do, and whether it may."""

import copy
from typing import Any

import pytest

from geneveil.install.apply import apply_installation, plan_installation
from geneveil.install.plan import Action, Step, judge_object, settle_mode
from geneveil.install.port import NotServedError
from geneveil.install.wish import InstallWish, check_wish
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError, GeneveilError, RefusedError

WANTED: dict[str, Any] = {
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "n"},
    "data": {"k": "1"},
}


def _as_read(**changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(WANTED) | changes
    found["metadata"] = {**WANTED["metadata"], "resourceVersion": "7", "managedFields": [1]}
    return found


def test_what_is_not_there_is_created() -> None:
    assert judge_object(WANTED, None, None).action is Action.CREATE


def test_books_of_the_api_server_are_no_change() -> None:
    after = _as_read()
    after["metadata"]["resourceVersion"] = "8"
    assert judge_object(WANTED, _as_read(status={"x": 1}), after).action is Action.UNCHANGED


def test_a_change_names_its_field() -> None:
    step = judge_object(WANTED, _as_read(), _as_read(data={"k": "2"}))
    assert (step.action, step.fields) == (Action.CHANGE, ("data.k",))


@pytest.mark.parametrize(
    ("asked", "there", "mode"),
    [
        (None, None, Mode.DISABLED),
        (Mode.FULL, None, Mode.FULL),
        (None, "Full", Mode.FULL),
        (None, "Disabled", Mode.DISABLED),
        (Mode.FULL, "Full", Mode.FULL),
    ],
)
def test_the_mode_is_what_was_asked_or_what_is_there(
    asked: Mode | None, there: str | None, mode: Mode
) -> None:
    assert settle_mode(asked, {"spec": {"mode": there}} if there else None) is mode


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [(Mode.DISABLED, "Full", "never off again"), (Mode.FULL, "Disabled", "while the cluster is")],
)
def test_another_mode_is_refused(asked: Mode, there: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        settle_mode(asked, {"spec": {"mode": there}})
    assert refused.value.reason == "mode-sealed"


@pytest.mark.parametrize(
    "wish",
    [
        InstallWish(Mode.FULL, namespace="a b"),
        InstallWish(Mode.FULL, namespace="x\ny"),
        InstallWish(Mode.FULL, signer_name="node"),
        InstallWish(Mode.FULL, image="a b"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(wish: InstallWish) -> None:
    with pytest.raises(ConfigError, match="--"):
        check_wish(wish)


class _Cluster:
    """Keeps what was applied; the real one is asked in tests/kube."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def read(self, document: Any) -> dict[str, Any] | None:
        return self.kept.get(document["metadata"]["name"])

    def apply(self, document: Any, *, dry_run: bool, force: bool) -> dict[str, Any]:
        name = document["metadata"]["name"]
        if not dry_run:
            self.calls.append(name)
            self.kept[name] = dict(document)
        return dict(document)

    def wait_for_definition(self, name: str) -> None:
        self.calls.append(f"wait {name}")


def test_only_what_differs_is_applied_in_order() -> None:
    cluster = _Cluster()
    documents: list[dict[str, Any]] = [
        {"kind": "CustomResourceDefinition", "metadata": {"name": "crd"}},
        {"kind": "Namespace", "metadata": {"name": "space"}},
        WANTED,
    ]
    cluster.kept["space"] = documents[1]
    steps = plan_installation(cluster, documents, force=False)
    assert [step.action for step in steps] == [Action.CREATE, Action.UNCHANGED, Action.CREATE]
    assert cluster.calls == []
    told: list[Step] = []
    apply_installation(cluster, documents, steps, told.append, force=False)
    assert cluster.calls == ["crd", "wait crd", "a"]
    assert told == steps


class _Unwilling(_Cluster):
    """Takes nothing."""

    def __init__(self, why: GeneveilError) -> None:
        super().__init__()
        self._why = why

    def apply(self, document: Any, *, dry_run: bool, force: bool) -> dict[str, Any]:
        assert dry_run
        raise self._why


def test_what_would_be_refused_is_refused_before_anything_is_applied() -> None:
    refused = RefusedError("refused", "cannot apply ConfigMap a", why="a webhook says no")
    with pytest.raises(RefusedError, match="webhook"):
        plan_installation(_Unwilling(refused), [WANTED], force=False)


def test_what_hangs_on_the_rest_can_not_be_tried() -> None:
    cluster = _Unwilling(NotServedError("cannot apply ConfigMap a"))
    (step,) = plan_installation(cluster, [WANTED], force=False)
    assert step.action is Action.CREATE
    cluster.kept["a"] = WANTED
    with pytest.raises(NotServedError):
        plan_installation(cluster, [WANTED], force=False)
