"""What `geneveil status` says of one node."""

from dataclasses import replace

import pytest

from geneveil.cli.node_view import render_status
from geneveil.model.node_status import PeerState
from geneveil.model.trust_status import AuthorityStatus, RenewalState, TrustStatus
from tests.unit.test_agent_kube import NOW, node_status


@pytest.mark.parametrize(
    ("charon", "said"), [("6.0", "NOT loaded into charon"), ("", "charon does not say if loaded")]
)
def test_what_a_silent_charon_has_is_not_said_to_be_missing(
    charon: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = AuthorityStatus("CN=x", "f" * 64, NOW, in_charon=False)
    trust = TrustStatus(RenewalState.CURRENT, (authority,), (), NOW, 1)
    render_status(replace(node_status(PeerState.UP), charon=charon, trust=trust), "")
    assert said in " ".join(capsys.readouterr().out.split())
