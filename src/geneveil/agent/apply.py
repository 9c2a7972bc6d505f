"""Does the actions of one turn, through the ports, and says what came of them."""

from dataclasses import dataclass

from geneveil.agent.observe import Ports
from geneveil.mesh.actions import (
    Action,
    ApplyBolt,
    ApplyGuard,
    ApplySentinel,
    AskEcho,
    CharonAction,
    ClearCredentials,
    DeleteState,
    Initiate,
    LoadConnection,
    LoadCrl,
    LoadIdentity,
    RekeyChildSa,
    TerminateChildSa,
    TerminateIkeSa,
    UnloadConnection,
    UnloadKey,
)
from geneveil.mesh.memory import Memory, record
from geneveil.model.errors import GeneveilError, SilentDaemonError

MOST_UNANSWERED = 3
"""After so many questions without an answer charon is not asked any more in this turn: each costs
seconds, a turn may have thousands, and what the kernel and the operator say waits meanwhile. Not
after the first: one that is always slow must not keep from all the others behind it."""


@dataclass(frozen=True)
class Outcome:
    """What was done, and what failed: each with its error."""

    memory: Memory
    done: tuple[Action, ...]
    failed: tuple[tuple[Action, GeneveilError], ...]


def apply_actions(
    actions: tuple[Action, ...], ports: Ports, memory: Memory, now_seconds: float
) -> Outcome:
    """Do them in order.

    An action that fails does not stop the others, with two exceptions: without the identity, or
    without a revocation list, no connection is loaded or initiated, and a charon that does not
    answer is left alone.
    Fails closed: yes; whoever is on a list that charon does not take could come back.
    """
    done: list[Action] = []
    failed: list[tuple[Action, GeneveilError]] = []
    has_trust = True
    unanswered = 0
    for action in actions:
        if unanswered >= MOST_UNANSWERED and isinstance(action, CharonAction):
            continue
        if not has_trust and isinstance(action, LoadConnection | Initiate):
            continue
        try:
            answer = _apply(action, ports)
        except GeneveilError as error:
            failed.append((action, error))
            unanswered += isinstance(error, SilentDaemonError)
            has_trust = has_trust and not isinstance(action, LoadIdentity | LoadCrl)
            continue
        done.append(action)
        memory = record(memory, action, answer, now_seconds)
    return Outcome(memory, tuple(done), tuple(failed))


def describe(action: Action) -> tuple[str, dict[str, object]]:
    """An action as an event and its fields, for the log; no secret is in it."""
    match action:
        case ApplyGuard(spec):
            return "guard put in place", {"ports": ",".join(map(str, spec.ports))}
        case ApplyBolt(spec):
            return "bolt held", {"ports": ",".join(map(str, spec.ports))}
        case ApplySentinel(spec):
            return "leak sentinel put in place", {"devices": ",".join(spec.devices)}
        case LoadIdentity(identity):
            return "identity loaded", {"certificate": identity.fingerprint[:16]}
        case LoadCrl(_, fingerprint):
            return "CRL loaded", {"crl": fingerprint[:16]}
        case ClearCredentials():
            return "credentials cleared, to take out an authority that was dropped", {}
        case UnloadKey(key_id):
            return "the replaced key is unloaded", {"key": key_id}
        case LoadConnection(connection, _):
            return "connection loaded", {
                "peer": connection.remote_chassis,
                "address": connection.remote_ip,
            }
        case UnloadConnection(name):
            return "connection unloaded", {"connection": name}
        case TerminateIkeSa(unique_id, connection, why, _, _):
            return "IKE_SA closed", {"connection": connection, "id": unique_id, "why": why}
        case TerminateChildSa(unique_id, connection, why):
            return "CHILD_SA closed", {"connection": connection, "id": unique_id, "why": why}
        case RekeyChildSa(unique_id, connection, target):
            return "rekeying, to send there", {
                "connection": connection,
                "id": unique_id,
                "to": target,
            }
        case DeleteState(destination, spi, _):
            return "orphaned SA deleted", {"destination": destination, "spi": f"{spi:08x}"}
        case Initiate(connection, child, None):
            return "initiating", {"connection": connection, "child": str(child)}
        case Initiate(connection, child, target):
            to = str(target or "a new one")
            return "moving", {"connection": connection, "child": str(child), "to": to}
        case AskEcho(connection, _, _):
            return "echo in ESP asked for", {"connection": connection}


def _apply(action: Action, ports: Ports) -> str:
    match action:
        case ApplyGuard(spec):
            ports.guard.apply(spec)
        case ApplyBolt(spec):
            ports.bolt.hold(spec)
        case ApplySentinel(spec):
            ports.sentinel.apply(spec)
        case LoadIdentity(identity):
            return ports.ike.load_identity(identity)
        case LoadCrl(crl, _):
            ports.ike.load_crl(crl)
        case ClearCredentials():
            ports.ike.clear_credentials()
        case UnloadKey(key_id):
            ports.ike.unload_key(key_id)
        case LoadConnection(connection, identity, salt):
            ports.ike.load_connection(connection, identity, salt)
        case UnloadConnection(name):
            ports.ike.unload_connection(name)
        case TerminateIkeSa(unique_id, _, _, at_once, _):
            ports.ike.terminate(unique_id, at_once)
        case TerminateChildSa(unique_id, _, _):
            ports.ike.terminate_child(unique_id)
        case RekeyChildSa(unique_id, _, _):
            ports.ike.rekey_child(unique_id)
        case DeleteState(destination, spi, protocol):
            ports.kernel.delete_state(destination, spi, protocol)
        case Initiate(connection_name, child, _):
            ports.ike.initiate(connection_name, child)
        case AskEcho(_, local_ip, remote_ip):
            ports.esp.ask((local_ip, remote_ip))
    return ""
