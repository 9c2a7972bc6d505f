"""What to do about a finding where there are no join tokens. Pure."""

from dataclasses import replace

from geneveil.agent.rotation.renewal import NEEDS_TOKEN, SHUT_OUT
from geneveil.model.health import Finding

_ASK_CLUSTER = "the agent asks by itself; see: geneveil status --cluster; kubectl get csr"
_READMIT = (
    "to let it in again: geneveil operator readmit NODE --kubernetes; if its Node was deleted, make"
    " that anew, and its agent's Pod"
)
_REMEDIES = {
    "not-enrolled": _ASK_CLUSTER,
    "trust-incomplete": _ASK_CLUSTER,
    "trust-unusable": _ASK_CLUSTER,
    "operator-silent": "see that the API server and the operator run; the agent goes on asking",
    **dict.fromkeys(NEEDS_TOKEN, _ASK_CLUSTER),
    **dict.fromkeys({*SHUT_OUT, "peer-revoked"}, _READMIT),
    "certificate-expired": f"check this machine's clock; if it is right, {_ASK_CLUSTER}",
    "peer-expired": "see that its agent runs there: it asks for another certificate by itself",
}


def reword(finding: Finding) -> Finding:
    """The same finding with a remedy that is true in a Kubernetes cluster."""
    remedy = _REMEDIES.get(finding.code)
    if remedy is None and "geneveil operator token" in finding.remedy:
        remedy = _ASK_CLUSTER
    return finding if remedy is None else replace(finding, remedy=remedy)
