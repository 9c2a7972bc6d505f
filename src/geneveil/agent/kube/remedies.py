"""What to do about a finding where there are no join tokens. Pure."""

from dataclasses import replace

from geneveil.agent.rotation.renewal import NEEDS_TOKEN, SHUT_OUT
from geneveil.model.health import Finding

_ASK_CLUSTER = "the agent asks by itself; see: geneveil status --cluster; kubectl get csr"
_LET_IN = (
    "where a person revoked it: geneveil operator readmit NODE --kubernetes; where its Node was "
    "deleted: make that anew, and its agent's Pod"
)
_REMEDIES = {
    "not-enrolled": _ASK_CLUSTER,
    "trust-incomplete": _ASK_CLUSTER,
    "trust-unusable": _ASK_CLUSTER,
    "operator-silent": "see that the API server and the operator run; the agent goes on asking",
    **dict.fromkeys(NEEDS_TOKEN, _ASK_CLUSTER),
    **dict.fromkeys({*SHUT_OUT, "peer-revoked"}, _LET_IN),
}


def reword(finding: Finding) -> Finding:
    """The same finding with a remedy that is true in a Kubernetes cluster."""
    remedy = _REMEDIES.get(finding.code)
    return finding if remedy is None else replace(finding, remedy=remedy)
