"""What a `KubePort` does, as cases that run on a real API server and on everything that stands in
for one: a stand-in that does something else makes the tests that rest on it worth nothing.

Each case uses one ConfigMap of its own name. A stand-in says what it offers, and is tried on that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from geneveil.kube.errors import ConflictError, ExistsError, GoneError, MissingError
from geneveil.kube.kinds import CONFIG_MAPS, NODE_IPSECS
from geneveil.kube.port import Change, Document, KubePort, Selection, WatchEvent

NAMESPACE = "geneveil-system"


@dataclass(frozen=True)
class Subject:
    """What is tried.

    Attributes:
        offers: verbs of `KubePort` that it has, and `gone` if `forget` works.
        change, remove: another client writes over an object, or deletes it.
        forget: from now on no watch can go on from the versions that there were.
    """

    port: KubePort
    offers: frozenset[str]
    change: Callable[[Document], None]
    remove: Callable[[str], None]
    forget: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Case:
    """A case, and the verbs that it needs."""

    needs: frozenset[str]
    check: Callable[[Subject, str], None]


def config_map(name: str, value: str = "1", **metadata: object) -> Document:
    """A ConfigMap."""
    return {"metadata": {"name": name, "namespace": NAMESPACE, **metadata}, "data": {"k": value}}


def _made_is_read(subject: Subject, name: str) -> None:
    made = subject.port.create(CONFIG_MAPS, config_map(name))
    assert made["metadata"]["resourceVersion"]
    read = subject.port.read(CONFIG_MAPS, name, NAMESPACE)
    assert (read["data"], read["metadata"]["resourceVersion"]) == (
        {"k": "1"},
        made["metadata"]["resourceVersion"],
    )
    assert subject.port.find(CONFIG_MAPS, name, NAMESPACE) == read


def _made_twice(subject: Subject, name: str) -> None:
    subject.port.create(CONFIG_MAPS, config_map(name))
    with pytest.raises(ExistsError):
        subject.port.create(CONFIG_MAPS, config_map(name, "2"))
    assert subject.port.read(CONFIG_MAPS, name, NAMESPACE)["data"] == {"k": "1"}


def _absent(subject: Subject, name: str) -> None:
    assert subject.port.find(CONFIG_MAPS, name, NAMESPACE) is None
    with pytest.raises(MissingError):
        subject.port.read(CONFIG_MAPS, name, NAMESPACE)


def _replaced(subject: Subject, name: str) -> None:
    made = subject.port.create(CONFIG_MAPS, config_map(name))
    version = made["metadata"]["resourceVersion"]
    wanted = config_map(name, "2", resourceVersion=version)
    written = subject.port.replace(CONFIG_MAPS, wanted)
    assert written["metadata"]["resourceVersion"] != version
    assert written["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(ConflictError):
        subject.port.replace(CONFIG_MAPS, config_map(name, "3", resourceVersion=version))
    assert subject.port.read(CONFIG_MAPS, name, NAMESPACE)["data"] == {"k": "2"}
    subject.port.replace(CONFIG_MAPS, config_map(name, "4"))  # without a version: whatever there is
    assert subject.port.read(CONFIG_MAPS, name, NAMESPACE)["data"] == {"k": "4"}
    with pytest.raises(MissingError):
        absent = config_map(f"{name}-absent", resourceVersion=version)
        subject.port.replace(CONFIG_MAPS, absent)


def _deleted(subject: Subject, name: str) -> None:
    made = subject.port.create(CONFIG_MAPS, config_map(name))
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    with pytest.raises(ConflictError):
        subject.port.delete(CONFIG_MAPS, name, NAMESPACE, uid="another")
    subject.port.replace(CONFIG_MAPS, config_map(name, "2"))
    with pytest.raises(ConflictError):
        subject.port.delete(CONFIG_MAPS, name, NAMESPACE, version=version)
    subject.port.delete(CONFIG_MAPS, name, NAMESPACE, uid=uid)
    assert subject.port.find(CONFIG_MAPS, name, NAMESPACE) is None
    with pytest.raises(MissingError):
        subject.port.delete(CONFIG_MAPS, name, NAMESPACE)


def _listed(subject: Subject, name: str) -> None:
    label = {"contract": name}
    for number in range(3):
        subject.port.create(CONFIG_MAPS, config_map(f"{name}-{number}", labels=label))
    subject.port.create(CONFIG_MAPS, config_map(name))
    some = subject.port.list_all(
        Selection(CONFIG_MAPS, NAMESPACE, labels=f"contract={name}", page=2)
    )
    assert sorted(one["metadata"]["name"] for one in some.items) == [
        f"{name}-{number}" for number in range(3)
    ]
    assert some.version
    everything = subject.port.list_all(Selection(CONFIG_MAPS, NAMESPACE)).items
    assert {name, f"{name}-0"} <= {one["metadata"]["name"] for one in everything}


def _status_applied(subject: Subject, name: str) -> None:
    """As agents write a NodeIPsec's status: only where the operator made one."""
    document = {"metadata": {"name": name}, "status": {"chassis": "a"}}
    with pytest.raises(MissingError):
        subject.port.apply(NODE_IPSECS, document, "geneveil-agent", "status")
    subject.port.create(NODE_IPSECS, {"metadata": {"name": name}, "spec": {}})
    written = subject.port.apply(NODE_IPSECS, document, "geneveil-agent", "status")
    assert written["status"]["chassis"] == "a"
    assert subject.port.read(NODE_IPSECS, name)["status"]["chassis"] == "a"


def _watched(subject: Subject, name: str) -> None:
    """What is there, then what changes, until it is gone."""
    made = subject.port.create(CONFIG_MAPS, config_map(name))
    events = subject.port.watch(_only(name), "", 60)
    first = _next(events)
    assert (first.change, first.document["data"]) == (Change.ADDED, {"k": "1"})
    assert first.version == made["metadata"]["resourceVersion"]
    subject.change(config_map(name, "2"))
    second = _next(events)
    assert (second.change, second.document["data"]) == (Change.MODIFIED, {"k": "2"})
    subject.remove(name)
    third = _next(events)
    assert (third.change, third.document["metadata"]["name"]) == (Change.DELETED, name)
    assert third.version != second.version


def _watched_on(subject: Subject, name: str) -> None:
    """From a version on: only what came after it."""
    made = subject.port.create(CONFIG_MAPS, config_map(name))
    subject.change(config_map(name, "2"))
    events = subject.port.watch(_only(name), made["metadata"]["resourceVersion"], 60)
    event = _next(events)
    assert (event.change, event.document["data"]) == (Change.MODIFIED, {"k": "2"})


def _forgotten(subject: Subject, name: str) -> None:
    """A version that is too old is an error of its own; the object itself is still to be had."""
    made = subject.port.create(CONFIG_MAPS, config_map(name))
    version = made["metadata"]["resourceVersion"]
    subject.change(config_map(name, "2"))
    subject.forget()
    with pytest.raises(GoneError):
        _next(subject.port.watch(_only(name), version, 60))
    event = _next(subject.port.watch(_only(name), "", 60))
    assert event.document["data"] == {"k": "2"}


def _only(name: str) -> Selection:
    return Selection(CONFIG_MAPS, NAMESPACE, fields=f"metadata.name={name}")


def _next(events: Iterator[WatchEvent]) -> WatchEvent:
    """The next event that tells of an object."""
    return next(event for event in events if event.change is not Change.BOOKMARK)


CASES: dict[str, Case] = {
    "made-is-read": Case(frozenset({"create", "read"}), _made_is_read),
    "made-twice": Case(frozenset({"create", "read"}), _made_twice),
    "absent": Case(frozenset({"read"}), _absent),
    "replaced": Case(frozenset({"create", "read", "replace"}), _replaced),
    "deleted": Case(frozenset({"create", "read", "replace", "delete"}), _deleted),
    "listed": Case(frozenset({"create", "list_all"}), _listed),
    "status-applied": Case(frozenset({"create", "read", "apply"}), _status_applied),
    "watched": Case(frozenset({"create", "watch"}), _watched),
    "watched-on": Case(frozenset({"create", "watch"}), _watched_on),
    "forgotten": Case(frozenset({"create", "watch", "gone"}), _forgotten),
}


def cases_for(offers: frozenset[str]) -> list[str]:
    """Names of the cases that can be tried on what offers this."""
    return [name for name, case in CASES.items() if case.needs <= offers]
