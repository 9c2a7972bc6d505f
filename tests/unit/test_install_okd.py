"""OKD's manifest as a wish."""

import pytest

from geneveil.install.okd import parse_okd_manifest
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError


def _manifest(ovn: str, *, kind: str = "Network", network: str = "OVNKubernetes") -> str:
    return (
        f"apiVersion: operator.openshift.io/v1\nkind: {kind}\nmetadata:\n  name: cluster\n"
        f"spec:\n  defaultNetwork:\n    type: {network}\n    ovnKubernetesConfig:{ovn}\n"
    )


_UNDER = "\n      "


@pytest.mark.parametrize(
    ("ovn", "mode", "spec"),
    [
        ("", Mode.DISABLED, {}),
        (" {}", Mode.DISABLED, {}),
        (f"{_UNDER}mtu: 1400", Mode.DISABLED, {}),
        (f"{_UNDER}ipsecConfig:", Mode.DISABLED, {}),
        (f"{_UNDER}ipsecConfig: {{}}", Mode.FULL, {}),
        (f"{_UNDER}ipsecConfig: {{mode: Full}}", Mode.FULL, {}),
        (f"{_UNDER}ipsecConfig: {{mode: Disabled}}", Mode.DISABLED, {}),
        (f"{_UNDER}genevePort: 6082{_UNDER}ipsecConfig: {{}}", Mode.FULL, {"genevePorts": [6082]}),
        (
            f"{_UNDER}ipsecConfig: {{mode: Full, full: {{encapsulation: Always}}}}",
            Mode.FULL,
            {"encapsulation": "Always"},
        ),
    ],
)
def test_the_switch_is_read_as_okd_reads_it(ovn: str, mode: Mode, spec: dict[str, object]) -> None:
    switch = parse_okd_manifest(_manifest(ovn), "net.yml")
    assert (switch.mode, switch.spec) == (mode, spec)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_manifest(f"{_UNDER}ipsecConfig: {{mode: External}}"), ("net.yml:9", "External")),
        (_manifest(f"{_UNDER}ipsecConfig: {{mode: full}}"), ("net.yml:9", "'full'")),
        (_manifest(f"{_UNDER}ipsecConfig: yes"), ("net.yml:9", "fields")),
        (_manifest(f"{_UNDER}genevePort: 70000"), ("net.yml:9", "70000")),
        (_manifest("", network="OpenShiftSDN"), ("net.yml:7", "OpenShiftSDN")),
        (_manifest("", kind="Pod"), ("net.yml:2", "Network")),
        ("a: [", ("net.yml", "not YAML")),
        ("", ("net.yml", "empty")),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_okd_manifest(text, "net.yml")
    assert all(word in refused.value.render() for word in words)
