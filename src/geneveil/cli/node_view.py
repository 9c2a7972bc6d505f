"""Reads the status that the agent wrote, and shows it to people."""

import fcntl
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from geneveil.agent.alive.io import runs
from geneveil.model.errors import ConfigError, DaemonError
from geneveil.model.guard import GuardCounter, Tally
from geneveil.model.health import Severity
from geneveil.model.node_status import (
    LOCK_FILE,
    NodeStatus,
    PeerState,
    PeerStatus,
    parse_status,
)
from geneveil.model.sentinel import SentinelCounter
from geneveil.model.trust_status import RenewalState

_STATE_STYLE = {
    PeerState.UP: "green",
    PeerState.CONNECTING: "yellow",
    PeerState.DOWN: "red",
    PeerState.UNKNOWN: "red",
    PeerState.UNPROVEN: "red",
}
_SEVERITY_STYLE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: ""}
_RENEWAL_TEXT = {
    RenewalState.CURRENT: "not due",
    RenewalState.ASKING: "due; the operator is asked for a new certificate",
    RenewalState.SWITCHING: "a new certificate is being taken into use",
    RenewalState.RETIRING: "the new certificate is in use; peers are re-authenticated",
}
_COUNTER_TEXT = {
    GuardCounter.CLEARTEXT_OUT: "cleartext dropped going out",
    GuardCounter.CLEARTEXT_IN: "cleartext dropped coming in",
    GuardCounter.FORWARDED: "forwarded Geneve dropped",
    GuardCounter.QUOTED: "ICMP errors about Geneve dropped",
}


def read_status(run_dir: Path) -> tuple[Mapping[str, Any], NodeStatus]:
    """The status file as a document and as a value.

    Raises:
        DaemonError: there is none: the agent never ran here.
        ConfigError: it cannot be read.
    """
    path = run_dir / "status.json"
    try:
        document = json.loads(path.read_bytes())
        return document, parse_status(document)
    except FileNotFoundError:
        raise _never_ran(path) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read", why=_reason(error)) from None


def agent_lives(run_dir: Path) -> bool:
    """Whether an agent runs here.

    To root the lock of the run directory tells: the kernel frees it when the agent ends, however
    it ends. Others may not touch it; to them the process does that the status names.

    Raises:
        DaemonError: no agent ever ran here.
        ConfigError: neither can be looked at.
    """
    path = run_dir / LOCK_FILE
    try:
        with path.open("rb") as lock:
            try:
                # Shared, and for an instant: an agent that starts right now tries more than once.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except FileNotFoundError:
        raise _never_ran(path) from None
    except PermissionError:
        _document, status = read_status(run_dir)
        return runs(status.pid, status.start_ticks)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=_reason(error)) from None


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _never_ran(path: Path) -> DaemonError:
    return DaemonError(
        f"the agent is not running: there is no {path}",
        remedy="start it: geneveil agent; or name its run directory with --run-dir; all nodes of a "
        "Kubernetes cluster: --cluster",
    )


def render_status(status: NodeStatus, complaint: str) -> None:
    """Print peers, certificate, guard, what is wrong, and one line that says it all."""
    console = Console(highlight=False, markup=False, soft_wrap=True)  # names as they are
    console.print(
        Text(status.chassis or "(no name)", style="bold").append(
            f"  mode {status.mode}", style="not bold"
        )
    )
    if status.mode != "Disabled":
        _print_peers(console, status)
        _print_certificate(console, status)
        _print_guard(console, status)
        _print_daemons(console, status)
    for value in status.health:
        finding = value.finding
        line = Text(f"{finding.severity.value}: ", style=_SEVERITY_STYLE[finding.severity])
        line.append(f"{finding.subject}: {finding.what} (since {_moment(value.since)})", style="")
        console.print(line)
        if finding.remedy:
            console.print(Text(f"    {finding.remedy}", style="dim"))
    if complaint:
        console.print(Text(f"the latest that it wrote: {status.summary}", style="dim"))
        console.print(Text(complaint, style="bold red"))
        return
    console.print(Text(status.summary, style="bold green" if status.is_well else "bold red"))


def _print_peers(console: Console, status: NodeStatus) -> None:
    if not status.peers:
        console.print("no peers")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("PEER\nADDRESS", "STATE\nSINCE", "CIPHER\nNEXT REKEY", "SPI OUT\nSPI IN"):
        table.add_column(heading, overflow="fold")
    table.add_column("BYTES OUT\nBYTES IN", justify="right")
    for peer in status.peers:
        table.add_row(*_peer_cells(peer, status.written_at))
    console.print(table, soft_wrap=False)


def _peer_cells(peer: PeerStatus, now: datetime) -> list[Text | str]:
    state = Text(peer.state.value, style=_STATE_STYLE[peer.state])
    state.append(f"\n{_moment(peer.since)}", style="default")
    cipher = peer.cipher + (" in UDP" if peer.encapsulated else "")
    if peer.fallback_since:
        cipher += f" (ESP blocked since {_moment(peer.fallback_since)})"
    rekey = f"in {_span(peer.next_rekey - now)}" if peer.next_rekey else "-"
    return [
        f"{peer.chassis}\n{peer.remote_ip}",
        state,
        f"{cipher or '-'}\n{rekey}",
        f"{_spi(peer.spi_out)}\n{_spi(peer.spi_in)}",
        f"{peer.bytes_out}\n{peer.bytes_in}",
    ]


def _print_certificate(console: Console, status: NodeStatus) -> None:
    certificate = status.certificate
    if certificate is None:
        console.print("certificate: none that can be used")
        return
    console.print(
        f"certificate: {certificate.serial}, valid until {certificate.not_after:%Y-%m-%d}, "
        f"to be renewed {certificate.renew_at:%Y-%m-%d}; issued by {certificate.issuer}"
    )
    trust = status.trust
    if trust is None:
        return
    console.print(f"renewal: {_RENEWAL_TEXT[trust.renewal]}")
    # What could not be read is not known to be missing.
    unloaded = "; NOT loaded into charon" if status.charon else "; charon does not say if loaded"
    for authority in trust.authorities:
        known = "" if authority.in_charon else unloaded
        console.print(f"trusts: {authority.name}, until {authority.not_after:%Y-%m-%d}{known}")
    for crl in trust.crls:
        known = "" if crl.in_charon else unloaded
        console.print(
            f"revocation list {crl.number} of {crl.authority[:16]}: {crl.revoked} revoked, "
            f"{_age(status.written_at - crl.this_update)} old{known}"
        )
    heard = trust.heard_at
    ago = "never" if heard is None else f"{_age(status.written_at - heard)} ago"
    console.print(f"operator: heard {ago}")


def _print_guard(console: Console, status: NodeStatus) -> None:
    guard = status.guard
    if guard is None:
        console.print("guard: could not be read")
        return
    state = "in place" if guard.in_place else "NOT in place"
    state += ", bolted" if guard.is_bolted else ""
    ports = ", ".join(str(port) for port in guard.ports)
    counts = ", ".join(
        f"{text} {guard.counters.get(counter, Tally()).packets}"
        for counter, text in _COUNTER_TEXT.items()
    )
    console.print(f"guard: {state} for UDP {ports or '-'}; packets: {counts}")
    if guard.disturbed_at is not None:
        console.print(
            f"guard touched by others: {guard.disturbances} times, "
            f"last {_moment(guard.disturbed_at)}",
            style="red",
        )
    sentinel = status.sentinel
    if sentinel is None or not sentinel.devices:
        console.print("leak sentinel: not in place")
        return
    out, came = (
        sentinel.counters.get(counter, Tally()).packets
        for counter in (SentinelCounter.WIRE_OUT, SentinelCounter.WIRE_IN)
    )
    console.print(
        f"leak sentinel on {', '.join(sentinel.devices)}: {out} frames left in clear, "
        f"{came} came in clear"
    )


def _print_daemons(console: Console, status: NodeStatus) -> None:
    tunnels = "away" if status.tunnels is None else f"{status.tunnels} tunnels"
    console.print(f"charon: {status.charon or 'away'}; Open vSwitch: {tunnels}")


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _span(span: timedelta) -> str:
    minutes, seconds = divmod(max(int(span.total_seconds()), 0), 60)
    return f"{minutes}m{seconds:02d}s"


def _age(span: timedelta) -> str:
    if span.days > 1:
        return f"{span.days} days"
    minutes, seconds = divmod(max(int(span.total_seconds()), 0), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{seconds:02d}s"


def _spi(spi: int) -> str:
    return f"{spi:08x}" if spi else "-"
