"""What `geneveil operator run` refuses before it does anything."""

import pytest

from geneveil.cli.operator_kube import RunOptions, run_on_kubernetes
from geneveil.model.errors import ConfigError


@pytest.mark.parametrize("seconds", [5, 899])
def test_live_nodes_would_count_as_away(seconds: int) -> None:
    options = RunOptions(None, "geneveil-system", "", "geneveil.io/node", "", seconds)
    with pytest.raises(ConfigError, match=f"--away-after {seconds} is too short") as raised:
        run_on_kubernetes(options)
    assert raised.value.remedy == "900 or more"
