"""What this node tells the operator that it has. Pure.

Only what charon was read to have counts: the operator lets nodes present certificates of a new
authority once every node confirms it, and a node that only has it on its disk would refuse them.
"""

from geneveil.agent.decide import Decision
from geneveil.agent.observe import Observation
from geneveil.agent.rotation.io import Confirmation
from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import GeneveilError


def confirm(seen: Observation, decision: Decision) -> Confirmation | None:
    """The confirmation, or None while there is no certificate to ask with.

    Also with a certificate that is of no use any more: it is the operator who says why.
    """
    trust = decision.trust
    if trust.certificate is None or not decision.chassis:
        return None
    loaded = frozenset[str]() if isinstance(seen.ike, GeneveilError) else seen.ike.certificates
    known = trust.identity.trust_fingerprints if trust.identity else ()
    dropped = trust.identity.dropped_fingerprints if trust.identity else frozenset()
    return Confirmation(
        chassis=decision.chassis,
        trusts=tuple(sorted({*known, *dropped} & loaded)),
        crls=tuple(
            sorted((crl.authority, crl.number) for crl in trust.crls if crl.fingerprint in loaded)
        ),
        serial=trust.certificate.serial,
        in_use=(trust.replaced_serial,) if trust.replaced_serial else (),
        has_settings=isinstance(seen.settings, ClusterSettings),
    )
