"""Each container of the agents' Pod does its work with the user, capabilities and mounts it has."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from geneveil.guard.io import NftGuard
from geneveil.install.decommission_pod import render_decommission_pod
from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.guard import GuardSpec
from geneveil.pki.authority import make_authority
from geneveil.pki.keys import make_key
from tests.image import TOP
from tests.real.programs import network_namespace, process, run, wait_until, wrapper
from tests.real.stand_in_container import Host, container_of, pod_of

pytestmark = pytest.mark.real

POD = pod_of("DaemonSet")
NET = "/proc/sys/net/core"


def shipped(kind: str) -> dict[str, Any]:
    """The agents' one of a kind."""
    text = (TOP / "deploy/manifests/full.yaml").read_text()
    documents: list[Any] = [one for one in yaml.safe_load_all(text) if one]
    names = (kind, "geneveil-agent")
    (found,) = (d for d in documents if (d["kind"], d["metadata"]["name"]) == names)
    return dict(found)


def identity() -> dict[str, str]:
    """A Pod's own; any will do, nobody is there to be asked."""
    key = make_key(KeyType.ECDSA_P256)
    authority = make_authority("x", key, CalendarSpan(12), datetime.now(UTC), bytes(20))
    pem = authority.certificate.public_bytes(Encoding.PEM).decode()
    return {"token": "x", "ca.crt": pem, "namespace": "geneveil-system"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as stack:
        name = stack.enter_context(network_namespace())
        config = {"config": shipped("ConfigMap")["data"], "identity": identity()}
        made = Host(name, tmp_path / "host", config)
        made.root.mkdir()
        yield made


def expires_seconds(host: Host) -> int:
    inside = ["ip", "netns", "exec", host.namespace]
    return int(run(*inside, "cat", f"{NET}/xfrm_acq_expires"))


def test_the_guard_is_set_sealed_and_left_to_the_hosts_boot(host: Host, tmp_path: Path) -> None:
    guard = container_of(POD, "guard")
    done = host.run(POD, guard)
    assert done.returncode == 0, done.stderr
    nft = wrapper(tmp_path, "nft", host.namespace)
    assert NftGuard(str(nft)).read().stands_for(GuardSpec((6081,)))
    assert (host.root / "var/lib/geneveil/sealed").read_text() == "Full\n"
    assert (host.root / "etc/systemd/system/geneveil-boot-guard.service").exists()
    run(str(nft), "flush", "ruleset")
    run(str(nft), "-f", str(host.root / "etc/geneveil/boot-guard.nft"))
    assert NftGuard(str(nft)).read().stands_for(GuardSpec((6081,)))


def test_a_guard_that_may_not_set_rules_fails(host: Host) -> None:
    """So that what is seen above is the capability, and not the stand-in's generosity."""
    guard = container_of(POD, "guard")
    context = {**guard["securityContext"], "capabilities": {"drop": ["ALL"]}}
    done = host.run(POD, {**guard, "securityContext": context})
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr


def test_what_charon_cannot_set_in_a_container_is_set_before(host: Host) -> None:
    wanted = int(re.findall(r"xfrm_acq_expires = (\d+)", deployed("strongswan.conf"))[0])
    assert expires_seconds(host) != wanted
    done = host.run(POD, container_of(POD, "acq-expires"))
    assert (done.returncode, done.stdout) == (0, "")
    assert expires_seconds(host) == wanted


def test_where_it_cannot_be_set_the_pod_starts_all_the_same(host: Host) -> None:
    container = container_of(POD, "acq-expires")
    (mount,) = container["volumeMounts"]
    done = host.run(POD, {**container, "volumeMounts": [{**mount, "readOnly": True}]})
    assert done.returncode == 0
    assert f"xfrm_acq_expires stays {expires_seconds(host)} s" in done.stdout


def deployed(name: str) -> str:
    return (TOP / "deploy" / name).read_text()


def answers(host: Host, container: dict[str, Any], probe: str) -> bool:
    command = container[probe]["exec"]["command"]
    return host.run(POD, container, *command).returncode == 0


def test_charon_starts_and_its_probe_tells_whether_it_answers(host: Host, tmp_path: Path) -> None:
    charon = container_of(POD, "charon")
    assert not answers(host, charon, "livenessProbe")
    log = tmp_path / "charon.log"
    with process(*host.command(POD, charon), log=log, **host.environment(charon)) as shell:
        wait_until(lambda: answers(host, charon, "livenessProbe"), "charon")
        shell.send_signal(signal.SIGTERM)
        shell.wait(60)
    (wanted,) = re.findall(r"(?m)^    load = (.*)$", deployed("strongswan.conf"))
    assert f"loaded plugins: charon-systemd {wanted}\n" in log.read_text()


def test_the_agent_is_ready_without_an_operator(host: Host, tmp_path: Path) -> None:
    agent = container_of(POD, "agent")
    assert host.run(POD, container_of(POD, "guard")).returncode == 0
    given = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    environment = host.environment(agent, NODE_NAME="node1", **given)
    assert not answers(host, agent, "readinessProbe")
    assert not answers(host, agent, "livenessProbe")
    log = tmp_path / "agent.log"
    with process(*host.command(POD, agent), log=log, **environment):
        wait_until(lambda: answers(host, agent, "readinessProbe"), "the agent")
        assert answers(host, agent, "livenessProbe")
    assert "Traceback" not in log.read_text()


def test_the_operator_serves_its_probes_without_an_api_server(host: Host, tmp_path: Path) -> None:
    pod = pod_of("Deployment")
    operator = container_of(pod, "operator")
    given = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    environment = host.environment(operator, POD_NAME="one", **given)
    argv = [word.replace("$(POD_NAME)", "one") for word in ("geneveil", *operator["args"])]
    probe = operator["livenessProbe"]["httpGet"]
    url = f"http://{probe['host']}:{probe['port']}{probe['path']}"
    fetch = f"import urllib.request as r; print(r.urlopen({url!r}).status)"
    inside = ["ip", "netns", "exec", host.namespace, sys.executable, "-c", fetch]
    log = tmp_path / "operator.log"
    with process(*host.command(pod, operator, *argv), log=log, **environment) as running:

        def lives() -> bool:
            assert running.poll() is None, log.read_text()
            return subprocess.run(inside, capture_output=True, timeout=60).stdout == b"200\n"

        wait_until(lives, "the operator")
    assert "Traceback" not in log.read_text()


def test_a_node_that_leaves_keeps_nothing_of_it(host: Host, tmp_path: Path) -> None:
    assert host.run(POD, container_of(POD, "guard")).returncode == 0
    (host.root / "var/lib/geneveil/node.key").write_text("x")
    other = host.root / "etc/systemd/system/other.service"
    other.write_text("")
    pod = render_decommission_pod(shipped("DaemonSet"), "node3")["spec"]
    done = host.run(pod, container_of(pod, "decommission"))
    assert done.returncode == 0, done.stdout + done.stderr
    nft = wrapper(tmp_path, "nft", host.namespace)
    assert run(str(nft), "list", "ruleset") == ""
    left = {path for path in host.root.rglob("*") if path.is_file() and "volumes" not in path.parts}
    assert left == {other, host.root / "var/lib/geneveil/decommissioned"}
    # and if the agent's Pod came back, it would not begin anew
    again = host.run(POD, container_of(POD, "guard"))
    assert "this node was decommissioned" in again.stdout
    assert run(str(nft), "list", "ruleset") == ""


def test_a_node_whose_kernel_still_has_charons_policies_stays_closed(
    host: Host, tmp_path: Path
) -> None:
    assert host.run(POD, container_of(POD, "guard")).returncode == 0
    ends = ["src", "192.0.2.1", "dst", "192.0.2.2"]
    policy = [*ends, "proto", "udp", "dport", "6081", "dir", "out"]
    template = ["tmpl", *ends, "proto", "esp", "mode", "transport"]
    run("ip", "-n", host.namespace, "xfrm", "policy", "add", *policy, *template)
    pod = render_decommission_pod(shipped("DaemonSet"), "node3")["spec"]
    decommission = container_of(pod, "decommission")
    assert pod["restartPolicy"] == "OnFailure"
    early = host.run(pod, decommission)
    assert early.returncode == 1
    assert "1 policies for the overlay are left in the kernel" in early.stdout
    nft = NftGuard(str(wrapper(tmp_path, "nft", host.namespace)))
    assert nft.read().stands_for(GuardSpec((6081,)))
    assert (host.root / "etc/geneveil/boot-guard.nft").exists()
    run("ip", "-n", host.namespace, "xfrm", "policy", "flush")  # as a boot does
    assert host.run(pod, decommission).returncode == 0
    assert not nft.read().present
