"""A node's own files of trust go missing, are cut short, are another's, or are damaged."""

from lab.deadline import wait_until
from lab.fault import Fault, Keeps, Part, Step
from lab.stage import Stage

TITLE = "A node's key, certificate, trust bundle or settings are lost or damaged"
NODES = 3
_STATE = "/var/lib/geneveil"
_HOLD_SECONDS = 6.0
_BY_OPERATOR = frozenset({Part.FILES, Part.OPERATOR, Part.CLOCK})
"""What the operator mends needs one that is heard."""

_MAKE_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"


def _break(name: str, command: str) -> Step:
    """Keep a copy of a file, then run a command on it; `$f` is its path."""

    async def step(stage: Stage) -> None:
        await stage.remote("node1").check(
            f"set -e; f={_STATE}/{name}; cp -p $f /run/kept; {command}"
        )

    return step


def _restore(name: str) -> Step:
    async def step(stage: Stage) -> None:
        # As a person would: written beside, and moved into its place.
        await stage.remote("node1").check(
            f"cp -p /run/kept {_STATE}/.kept && mv {_STATE}/.kept {_STATE}/{name}"
        )

    return step


async def _await_settings(stage: Stage) -> None:
    """Nobody puts them back but the operator."""
    remote = stage.remote("node1")

    async def is_back() -> bool:
        return (await remote.run(f"cmp /run/kept {_STATE}/settings.json")).status == 0

    await wait_until(is_back, "the operator to send the settings again", 30)


def _fault(name: str, title: str, file: str, command: str, code: str, *, is_short: bool) -> Fault:
    return Fault(
        name,
        f"trust: {title}",
        _break(file, command),
        _restore(file),
        hold_seconds=_HOLD_SECONDS,
        says={"node1": frozenset({code})},
        keeps=Keeps.ALL,
        is_short=is_short,
        claims=frozenset({Part.FILES}),
    )


FAULTS = (
    _fault("key_missing", "node key missing", "node.key", "rm $f", "trust-incomplete",
           is_short=True),
    _fault("key_cut", "node key cut short", "node.key", "truncate -s 80 $f", "trust-unusable",
           is_short=False),
    _fault("key_of_another", "node key and certificate do not match", "node.key",
           f"{_MAKE_KEY} -out $f", "trust-unusable", is_short=False),
    _fault("certificate_cut", "node certificate cut short", "node.crt", "truncate -s 80 $f",
           "trust-unusable", is_short=False),
    _fault("bundle_empty", "trust bundle empty", "trust-bundle.pem", ": > $f", "trust-unusable",
           is_short=False),
    Fault(
        "certificate_missing",
        "trust: node certificate missing; the operator gives the same one again",
        _break("node.crt", "rm $f"),
        keeps=Keeps.ALL,
        says={"node1": frozenset({"not-enrolled"})},
        claims=_BY_OPERATOR,
    ),
    Fault(
        "settings_missing",
        "trust: cluster settings missing; the operator sends them again",
        _break("settings.json", "rm $f"),
        _await_settings,
        keeps=Keeps.ALL,
        says={"node1": frozenset({"settings-missing"})},
        claims=_BY_OPERATOR,
        is_short=True,
    ),
    Fault(
        "settings_damaged",
        "trust: cluster settings damaged; the operator sends them again",
        _break("settings.json", "echo x > $f"),
        _await_settings,
        keeps=Keeps.ALL,
        says={"node1": frozenset({"settings-unreadable"})},
        claims=_BY_OPERATOR,
    ),
)  # fmt: skip
