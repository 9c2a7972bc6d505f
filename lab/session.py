"""What the commands do with labs that are up: keep, show, enter, take down.

A lab that is up is known by its run folder alone; nothing is remembered elsewhere.
"""

import asyncio
import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from geneveil.model.errors import ConfigError
from lab.bringup import Running, bring_up
from lab.claim import (
    DESCRIPTION_FILE,
    clear_run_folder,
    is_lab_folder,
    is_up,
    labs,
    run_folder,
)
from lab.errors import LabError
from lab.fault import Fault
from lab.fault_rules import FaultOutcome
from lab.fault_table import fault_row, merge_row
from lab.lifecycle import (
    CAPTURE_FILE,
    LabConfig,
    Programs,
    Supervised,
    lay_out,
    send_order,
)
from lab.results import Played, results_table
from lab.scenario import Scenario, group_scenarios, play_faults, play_scenario
from lab.shared_folder import plan_cluster
from lab.spec import SSH_PORT, UNDERLAY_BRIDGE, forward_socket

Say = Callable[[str], None]
_DOWN_SECONDS = 60.0


@contextlib.contextmanager
def narrator() -> Iterator[Say]:
    """Tell a person what happens: with a spinner and a clock in a terminal, else plain lines."""
    begun = time.monotonic()
    if not sys.stderr.isatty():
        yield lambda text: print(f"{time.monotonic() - begun:5.1f} s  {text}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status("starting") as spinner:

        def say(text: str) -> None:
            plain = escape(text)
            console.print(f"[dim]{time.monotonic() - begun:5.1f} s[/dim]  {plain}", highlight=False)
            spinner.update(f"{plain} …")

        yield say


async def bring_up_and_keep(config: LabConfig, programs: Programs, transport: str) -> None:
    """`lab up`: all or nothing; what fails or is interrupted leaves nothing running."""
    cluster = plan_cluster(
        config.ipsec, config.encapsulation, ipv6=config.is_ipv6, kubernetes=config.kubernetes
    )
    layout = lay_out(config, programs, cluster, transport)
    lab = Supervised(layout)
    running = Running(layout, lab)
    kept = False
    try:
        with narrator() as say:
            await lab.start()
            await bring_up(running, say)
            lab.keep()
            kept = True
    finally:
        running.close()
        if not kept:
            await lab.stop()
    nodes = ", ".join(node.name for node in layout.topology.nodes)
    how = "with IPsec on" if config.ipsec else "with IPsec off"
    how += " through Kubernetes" if config.kubernetes else ""
    print(f"lab {config.name!r} is up {how}: {nodes}; capture: {layout.capture}")
    print(
        "try: python -m lab exec node1 -- "
        + ("geneveil status" if config.ipsec else "ovs-vsctl show")
    )


async def take_down(name: str, say: Say) -> None:
    """`lab down`: end it and wait until nothing of it runs; clear what a killed one left."""
    run_dir = run_folder(name)
    if not run_dir.exists():
        say(f"lab {name!r} is not up")
        return
    if is_up(name):
        data_dir = description(name)["data_dir"]
        with contextlib.suppress(OSError, LabError):
            await send_order(run_dir, "stop")
        deadline = asyncio.get_running_loop().time() + _DOWN_SECONDS
        while not clear_run_folder(name):
            if asyncio.get_running_loop().time() > deadline:
                raise LabError(f"lab {name!r} did not end in {_DOWN_SECONDS:g} s")
            await asyncio.sleep(0.05)
        say(f"lab {name!r} is down; its logs and capture stay in {data_dir}")
    elif clear_run_folder(name):
        say(f"lab {name!r} had been killed; what it left is cleared")


def description(name: str) -> dict[str, Any]:
    """What a lab was told to be.

    Raises:
        ConfigError: there is no such lab.
    """
    path = run_folder(name) / DESCRIPTION_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        known = ", ".join(labs()) or "none"
        raise ConfigError(
            f"no lab {name!r}", why=f"labs here: {known}", remedy="`lab up` starts one"
        ) from error
    return found


async def show_status(name: str | None, output: str) -> bool:
    """Print labs and guests; true if the named lab (or, without a name, any) is up and watched."""
    if name is not None:
        description(name)
    found = [await _read_state(each) for each in ([name] if name else labs())]
    if output == "json":
        print(json.dumps(found, indent=1))
    else:
        _print_table(found)
    return any(lab["up"] and lab["witness"] for lab in found)


async def _read_state(name: str) -> dict[str, Any]:
    """What a lab was told to be and what it is; no guests while it starts or ends."""
    up = is_up(name)
    answer: dict[str, Any] = {}
    if up:
        with contextlib.suppress(OSError, LabError):
            answer = await send_order(run_folder(name), "status")
    return {
        **description(name),
        "name": name,
        "up": up,
        "answers": bool(answer),
        "witness": answer.get("witness", False),
        "guests": answer.get("guests", {}),
    }


def _state_text(lab: dict[str, Any]) -> str:
    if not lab["up"]:
        return "[red]killed[/red]"
    if not lab["answers"]:
        return "starting or ending"
    return "[green]up[/green]" if lab["witness"] else "[red]up, its witness is dead[/red]"


def _print_table(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        print("no lab is up")
        return
    table = Table(box=None, header_style="bold")
    for title in ("lab", "state", "IPsec", "guests", "data"):
        table.add_column(title, overflow="fold")
    for lab in found:
        running = [name for name, guest in lab["guests"].items() if guest["running"]]
        gone = [name for name in lab["guests"] if name not in running]
        guests = " ".join(running) + (f"  [red]halted: {' '.join(gone)}[/red]" if gone else "")
        ipsec = "on" if lab["cluster"]["ipsec"] else "off"
        table.add_row(lab["name"], _state_text(lab), ipsec, guests, lab["data_dir"])
    Console().print(table)


def _must_be_up(name: str) -> dict[str, Any]:
    found = description(name)
    if not is_up(name):
        raise ConfigError(f"lab {name!r} is not up", remedy="`lab up` starts it anew")
    return found


def _check_guest(name: str, guest: str, data_dir: Path) -> None:
    guests = sorted(path.parent.name for path in data_dir.glob("*/shared"))
    if guest not in guests:
        raise ConfigError(
            f"lab {name!r} has no guest {guest!r}", remedy=f"its guests are {', '.join(guests)}"
        )


def ssh_command(name: str, guest: str, words: Sequence[str]) -> list[str]:
    """The ssh(1) command line that enters a guest through the lab's socket."""
    import shlex

    data_dir = Path(_must_be_up(name)["data_dir"])
    _check_guest(name, guest, data_dir)
    socket = forward_socket(run_folder(name), guest, SSH_PORT)
    relay = Path(__file__).with_name("relay.py")
    proxy = shlex.join([sys.executable, "-I", str(relay), str(socket)])
    options = {
        "ProxyCommand": proxy,
        "IdentityFile": str(data_dir / "ssh_key"),
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    remote = [shlex.join(words)] if words else []
    return ["ssh", "-F", "none", *flags, *terminal, f"root@{guest}", *remote]


def log_files(name: str, guest: str, data_dir: Path) -> list[Path]:
    """Every log of a guest, of a lab that is up or of the last one of that name.

    Raises:
        ConfigError: no such lab or guest.
    """
    folder = _kept_folder(name, data_dir)
    _check_guest(name, guest, folder)
    return sorted((folder / guest / "disk" / "log").glob("*.log"))


def capture_file(name: str, data_dir: Path) -> Path:
    """Where the witness writes, or wrote.

    Raises:
        ConfigError: no such lab, or its capture was taken elsewhere.
    """
    path = _kept_folder(name, data_dir) / CAPTURE_FILE
    if not path.is_file():
        raise ConfigError(f"lab {name!r} has no capture", why=f"there is no {path}")
    return path


def _kept_folder(name: str, data_dir: Path) -> Path:
    """The data folder of a lab; of one that is down, what its last run left.

    Raises:
        ConfigError: neither is there.
    """
    try:
        return Path(description(name)["data_dir"])
    except ConfigError as error:
        folder = (data_dir / name).resolve()
        if is_lab_folder(folder):
            return folder
        raise ConfigError(
            error.what,
            why=f"{error.why}; no lab has left anything in {folder}",
            remedy="`lab up` starts one; --data-dir names where a lab that is down kept its files",
        ) from error


def watch_command(name: str) -> list[str]:
    """tcpdump on the underlay, beside the witness, from inside the lab's network namespace."""
    _must_be_up(name)
    pid = (run_folder(name) / "pid").read_text().strip()
    enter = ["nsenter", "--target", pid, "--net"]
    if run_folder(name).stat().st_uid:
        enter += ["--user", "--preserve-credentials"]
    return [*enter, "tcpdump", "-n", "-l", "-Z", "root", "-i", UNDERLAY_BRIDGE]


class _TimeLimit:
    """Nothing new is begun once it is over; what was not is remembered."""

    def __init__(self, minutes: float | None) -> None:
        self._minutes = minutes
        self._until = math.inf if minutes is None else time.monotonic() + minutes * 60
        self.left_out: list[str] = []

    def allows(self, name: str) -> bool:
        if time.monotonic() <= self._until:
            return True
        self.left_out.append(name)
        return False

    def __str__(self) -> str:
        names = ", ".join(self.left_out)
        return f"NOT PLAYED, for time was up after {self._minutes:g} minutes: {names}"


async def play_all(
    scenarios: Sequence[Scenario],
    programs: Programs,
    transport: str,
    data_dir: Path,
    results: Path | None,
    record: Path | None = None,
    minutes: float | None = None,
) -> int:
    """Play one scenario after another, faults on shared clusters; say how each went, write the
    tables; return how many failed. That something was left out is one more failure: what was not
    played was not shown.

    Args:
        results: where the table of scenarios goes.
        record: where the rows of faults go; see `lab.fault_table`.
        minutes: nothing new is begun after this time.
    """
    played: list[Played] = []
    limit = _TimeLimit(minutes)
    failed = 0

    def is_in_time(fault: Fault) -> bool:
        return limit.allows(fault.name)

    def keep(situation: str, outcome: FaultOutcome) -> None:
        if record:
            merge_row(record, fault_row(situation, outcome, scenarios[0].control_plane))

    with narrator() as say:
        for group in group_scenarios(scenarios):
            begun = time.monotonic()
            name = ", ".join(scenario.name for scenario in group)
            if not limit.allows(name):
                continue
            try:
                if group[0].faults:
                    await play_faults(group, programs, transport, data_dir, say, is_in_time, keep)
                else:
                    outcome = await play_scenario(group[0], programs, transport, data_dir, say)
                    played.append(Played(group[0], outcome, time.monotonic() - begun))
            except LabError as error:
                say(f"FAILED: {error.render()}")
                failed += 1
                continue
            say(f"{name}: as it must be" + (", as far as played" if limit.left_out else ""))
            if results and played:
                results.parent.mkdir(parents=True, exist_ok=True)
                results.write_text(results_table(played))
        if limit.left_out:
            say(str(limit))
    return failed + bool(limit.left_out)
