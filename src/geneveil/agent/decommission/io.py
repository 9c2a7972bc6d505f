"""Takes everything of ours off the node, part by part; each says what came of it.

A part that fails keeps no other from being tried, with three exceptions. Without the mark that
keeps the agent from coming back nothing is touched. The keys' files stay until charon has
forgotten the keys: only by them are they known there when it is repeated. And the guard, with what
sets it at boot, goes last and only if nothing else of ours is left: until then nothing may pass in
clear.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from geneveil.agent.boot_files.io import remove_boot_files
from geneveil.agent.config import AgentConfig, guarded_ports
from geneveil.agent.decommission.plan import (
    Outcome,
    OwnInCharon,
    Part,
    Step,
    carry_out,
    find_own,
    left_states,
    overlay_policies,
)
from geneveil.agent.io import STATUS_FILE, take_lock
from geneveil.agent.store import (
    CERTIFICATE,
    CRLS,
    DECOMMISSIONED,
    DROPPED,
    KEY,
    OPERATOR_URL,
    PENDING_CERTIFICATE,
    PENDING_KEY,
    PENDING_REQUEST,
    REPLACED_CERTIFICATE,
    REPLACED_KEY,
    SEAL,
    SETTINGS,
    SPENT_TOKEN,
    TRUST_BUNDLE,
    UNFINISHED,
    WATCH,
    NodeStore,
)
from geneveil.guard.bolt.io import NftBolt
from geneveil.guard.io import NftGuard
from geneveil.guard.sentinel.io import NftSentinel
from geneveil.ike.io import ViciCharon
from geneveil.model.errors import DaemonError, GeneveilError
from geneveil.xfrm.io import XfrmKernel

KEYS = (KEY, PENDING_KEY, REPLACED_KEY)
FILES = (  # the settings go with the seal: a boot before needs their ports for the guard
    *(CERTIFICATE, PENDING_CERTIFICATE, PENDING_REQUEST, REPLACED_CERTIFICATE),
    *(TRUST_BUNDLE, CRLS, DROPPED, WATCH, OPERATOR_URL, SPENT_TOKEN),
)
UNITS = ("geneveil-guard.service", "geneveil-agent.service")

GONE_SECONDS = 10.0
"""charon closes an SA within milliseconds, or after a peer that is away was given up."""


def decommission(config: AgentConfig, at: str, host_root: Path = Path("/")) -> list[Step]:
    """Take geneveil off this node. May be repeated.

    Args:
        at: the moment, for the mark.
        host_root: where the host's /etc is seen, as etc below it; another one in a container.
    Raises:
        ConfigError: the agent runs, or the mark cannot be written; nothing was touched.
    """
    lock = take_lock(config.run_dir)
    try:
        store = NodeStore(config.state_dir)
        store.prepare()
        own_keys = _own_key_ids(store)
        if not store.has(DECOMMISSIONED):
            store.write(DECOMMISSIONED, f"{at}{UNFINISHED}\n".encode())
        return carry_out(_parts(config, store, own_keys, host_root))
    finally:
        os.close(lock)


def _parts(
    config: AgentConfig, store: NodeStore, own_keys: frozenset[str], host_root: Path
) -> list[Part]:
    def part(
        name: str, work: Callable[[], tuple[Outcome, str]], after: tuple[str, ...] = ()
    ) -> Part:
        return Part(name, lambda: _try(name, work), after)

    charon = part("charon", lambda: _leave_charon(config, own_keys))
    closing = [
        charon,
        part("leak sentinel", _remove_sentinel),
        *(part(name, partial(_destroy, store, name), (charon.name,)) for name in KEYS),
        part("certificate and settings", lambda: _remove_files(store, config.run_dir)),
    ]
    names = tuple(each.name for each in closing)
    boot = [
        part("boot-time units", _disable_units, names),
        part("boot guard", partial(_remove_boot_guard, host_root), names),
    ]
    before_guard = (*names, *(each.name for each in boot))
    return [
        *closing,
        *boot,
        part("bolt", _remove_bolt, before_guard),
        part("guard", _remove_guard, (*before_guard, "bolt")),
        part("seal", lambda: _finish(store), (*before_guard, "bolt", "guard")),
    ]


def recommission(config: AgentConfig) -> bool:
    """Let an agent run here again; False if it was allowed to already."""
    store = NodeStore(config.state_dir)
    was_marked = store.has(DECOMMISSIONED)
    if was_marked:
        store.remove(DECOMMISSIONED)
    return was_marked


def _try(part: str, work: Callable[[], tuple[Outcome, str]]) -> Step:
    try:
        return Step(part, *work())
    except GeneveilError as error:
        return Step(part, Outcome.FAILED, error.render())
    except OSError as error:
        return Step(part, Outcome.FAILED, error.strerror or str(error))


def _own_key_ids(store: NodeStore) -> frozenset[str]:
    """The ids by which charon lists our keys: SHA-1 of the public key (RFC 5280 §4.2.1.2)."""
    from cryptography.x509 import SubjectKeyIdentifier

    from geneveil.pki.keyfiles import NamedBytes, parse_private_key

    ids = set()
    for name in KEYS:
        with contextlib.suppress(GeneveilError):  # a damaged key was never loaded
            pem = store.read(name)
            if pem is not None:
                key = parse_private_key(NamedBytes(name, pem))
                ids.add(SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex())
    return frozenset(ids)


def _leave_charon(config: AgentConfig, own_keys: frozenset[str]) -> tuple[Outcome, str]:
    charon, kernel = ViciCharon(config.vici), XfrmKernel()
    try:
        own = find_own(charon.read(), own_keys)
    except DaemonError as error:
        left = overlay_policies(kernel.read_policies(), guarded_ports(config, None))
        if not left:
            return Outcome.NOTHING, "charon is away, and the kernel has no policy for the overlay"
        why = f"{len(left)} policies for the overlay are left in the kernel, and only charon can "
        return Outcome.FAILED, why + f"tell whose they are: start it and repeat ({error.render()})"
    for name in own.connections:
        charon.unload_connection(name)
    for unique_id in own.ike_ids:
        charon.terminate(unique_id, at_once=True)
    for key_id in own.keys:
        charon.unload_key(key_id)
    if own.may_clear:
        charon.clear_credentials()
    left_over = _await_gone(charon, kernel, own)
    charon.close()
    if left_over:
        return Outcome.FAILED, f"left: {left_over}"
    if own.is_empty:
        return Outcome.NOTHING, ""
    counts = f"{len(own.connections)} connections, {len(own.ike_ids)} IKE_SAs, {len(own.keys)} keys"
    others = "" if own.may_clear else "; certificates stay in its memory, beside what others have"
    return Outcome.DONE, counts + others


def _await_gone(charon: ViciCharon, kernel: XfrmKernel, own: OwnInCharon) -> str:
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        seen = find_own(charon.read(), frozenset(own.keys))
        states = left_states(kernel.read_states(), own.spis)
        if seen.is_empty and not states:
            return ""
        if time.monotonic() > deadline:
            return (
                f"{len(seen.connections)} connections, {len(seen.ike_ids)} IKE_SAs, "
                f"{len(seen.keys)} keys in charon; {len(states)} states in the kernel"
            )
        time.sleep(0.1)


def _remove_sentinel() -> tuple[Outcome, str]:
    sentinel = NftSentinel()
    observed = sentinel.read()
    if observed.spec is None and not observed.counters:
        return Outcome.NOTHING, ""
    sentinel.remove()
    return Outcome.DONE, ""


def _remove_bolt() -> tuple[Outcome, str]:
    bolt = NftBolt()
    if bolt.read() is None:
        return Outcome.NOTHING, ""
    bolt.remove()
    return Outcome.DONE, ""


def _remove_guard() -> tuple[Outcome, str]:
    guard = NftGuard()
    if not guard.read().present:
        return Outcome.NOTHING, ""
    guard.remove()
    return Outcome.DONE, ""


def _finish(store: NodeStore) -> tuple[Outcome, str]:
    """From now on the boot sets no guard either."""
    since = store.decommissioned_since()
    if not store.is_decommissioned():
        store.write(DECOMMISSIONED, f"{since.removesuffix(UNFINISHED)}\n".encode())
    there = [name for name in (SETTINGS, SEAL) if store.has(name)]
    for name in there:
        store.remove(name)
    return (Outcome.DONE, "") if there else (Outcome.NOTHING, "")


def _destroy(store: NodeStore, name: str) -> tuple[Outcome, str]:
    if not store.has(name):
        return Outcome.NOTHING, ""
    store.destroy(name)
    return Outcome.DONE, "overwritten and removed"


def _remove_files(store: NodeStore, run_dir: Path) -> tuple[Outcome, str]:
    there = [name for name in FILES if store.has(name)]
    for name in there:
        store.remove(name)
    (run_dir / STATUS_FILE).unlink(missing_ok=True)
    return (Outcome.DONE, ", ".join(there)) if there else (Outcome.NOTHING, "")


def _disable_units() -> tuple[Outcome, str]:
    if not Path("/run/systemd/system").is_dir():
        return Outcome.NOTHING, "this machine was not booted with systemd"
    enabled = [unit for unit in UNITS if _systemctl("is-enabled", "--quiet", unit).returncode == 0]
    if not enabled:
        return Outcome.NOTHING, ""
    done = _systemctl("disable", *enabled)
    if done.returncode:
        return Outcome.FAILED, f"{', '.join(enabled)} stay enabled: {done.stderr.strip()}"
    return Outcome.DONE, f"disabled {', '.join(enabled)}"


def _remove_boot_guard(host_root: Path) -> tuple[Outcome, str]:
    there = remove_boot_files(host_root)
    return (Outcome.DONE, ", ".join(there)) if there else (Outcome.NOTHING, "")


def _systemctl(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemctl", *words], capture_output=True, text=True, timeout=60, check=False
    )
