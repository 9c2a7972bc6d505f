"""The operator killed at every step, beside another, frozen, and on an API server that fails."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import CONFIG_MAPS, LEASES, NODE_IPSECS
from geneveil.kube.port import Selection
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import (
    NAMESPACE,
    WAIT_SECONDS,
    FakeAgent,
    condition,
    install,
    make_csr,
    read_trust,
    replica,
    revoked_serials,
    switch_on,
    wait_for,
)


@dataclass
class Cluster:
    server: ApiServer
    admin: KubeClient
    folder: Path


LEADS = 'event="leads"'


@pytest.fixture
def cluster(kube_programs: Programs, tmp_path: Path) -> Iterator[Cluster]:
    with ApiServer.start(tmp_path / "kube", kube_programs) as server:
        make_namespace(server)
        install(server, kube_programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        yield Cluster(server, admin, tmp_path)


def _ledgers(admin: KubeClient) -> dict[str, list[dict[str, str]]]:
    """Chassis -> its certificates, as the ledger has them."""
    found = {}
    selection = Selection(CONFIG_MAPS, NAMESPACE, labels="geneveil.io/ledger=node")
    for document in admin.list_all(selection).items:
        ledger = json.loads(document["data"]["ledger.json"])
        found[ledger["chassis"]] = ledger["certificates"]
    return found


def _check_nothing_twice(admin: KubeClient) -> None:
    serials = [one["serial"] for certificates in _ledgers(admin).values() for one in certificates]
    requests = [
        one["csr_sha256"] for certificates in _ledgers(admin).values() for one in certificates
    ]
    assert len(set(serials)) == len(serials)
    assert len(set(requests)) == len(requests)


DEATHS = (
    ("before", "create", "secrets", "geneveil-ca"),
    ("after", "create", "secrets", "geneveil-ca"),
    ("before", "create", "configmaps", "geneveil-trust"),
    ("after", "create", "configmaps", "geneveil-trust"),
    ("before", "create", "configmaps", "geneveil-ledger"),
    ("after", "create", "configmaps", "geneveil-ledger"),
    ("before", "replace", "certificatesigningrequests/approval", "geneveil"),
    ("after", "replace", "certificatesigningrequests/approval", "geneveil"),
    ("before", "replace", "certificatesigningrequests/status", "geneveil"),
    ("after", "replace", "certificatesigningrequests/status", "geneveil"),
)

_FOUNDING = 4
"""Deaths at writes that are done once in a cluster's life."""


def test_killed_at_every_step_one_certificate_a_request(cluster: Cluster) -> None:
    for number, death in enumerate(DEATHS):
        agent = FakeAgent(cluster.server, f"dies-{number}", f"chassis-dies-{number}")
        name = agent.ask(make_csr(agent.chassis))
        with replica(cluster.server, cluster.folder, f"dying-{number}", dies=death) as dying:
            wait_for(f"death {death}", lambda: dying.process.poll() is not None)
            assert dying.process.returncode == -signal.SIGKILL, dying.text()
        # its lease would end by itself; that is tested elsewhere, and takes 15 s each time
        cluster.admin.delete(LEASES, "geneveil-operator", NAMESPACE)
        if number + 1 < _FOUNDING:
            continue  # what is made once only is not made by a survivor before its turn
        with replica(cluster.server, cluster.folder, f"survivor-{number}") as survivor:
            wait_for("it leads", lambda: survivor.said('event="leads"'))
            pem = wait_for("the certificate", lambda: agent.certificate(name))  # noqa: B023
            assert survivor.stop() == 0
        certificates = _ledgers(cluster.admin)[agent.chassis]
        assert [one["certificate_pem"] for one in certificates] == [pem.decode()]
    assert len(_ledgers(cluster.admin)) == len(DEATHS)
    _check_nothing_twice(cluster.admin)


def test_the_other_takes_over_within_the_lease_time(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "node", "chassis")
    with replica(cluster.server, cluster.folder, "a") as first:
        wait_for("a leads", lambda: first.said('event="leads"'))
        with replica(cluster.server, cluster.folder, "b") as second:
            agent.enrol()
            held = _lease(cluster)
            # on a machine that is busy enough a may have lost it meanwhile
            leads, other = (
                (first, second) if held["holderIdentity"].startswith("a") else (second, first)
            )
            name = agent.ask(make_csr(agent.chassis))
            leads.kill()
            last = _lease(cluster)
            assert last["holderIdentity"] == held["holderIdentity"]
            before = other.text().count(LEADS)
            wait_for("the other leads", lambda: other.text().count(LEADS) > before)
            # not before the lease was over, and nobody else took it
            taken = _lease(cluster)
            assert taken["leaseTransitions"] == last["leaseTransitions"] + 1
            assert taken["leaseDurationSeconds"] == 15
            waited = _seconds(taken["renewTime"]) - _seconds(last["renewTime"])
            assert waited > taken["leaseDurationSeconds"], "it did not wait for its end"
            # ready a second later; the rest is for a machine with much else to do
            assert waited < 3 * taken["leaseDurationSeconds"], "it waited too long"
            print(f"taken over {waited:.1f} s after it was renewed last")
            wait_for("a certificate", lambda: agent.certificate(name))
            # and one that is told to stop gives the lead up
            assert other.stop() == 0
            assert _lease(cluster)["holderIdentity"] == ""
            with replica(cluster.server, cluster.folder, "c") as third:
                wait_for("c leads", lambda: third.said(LEADS))
    _check_nothing_twice(cluster.admin)


def _lease(cluster: Cluster) -> dict[str, Any]:
    """The spec of the operators' Lease."""
    spec: dict[str, Any] = cluster.admin.read(LEASES, "geneveil-operator", NAMESPACE)["spec"]
    return spec


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_a_request_that_waited_for_too_long_is_denied(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "node-late", "chassis-late")
    name = agent.ask(make_csr("chassis-late"))
    time.sleep(3)  # longer than that program thinks right
    program = "tests.kube.impatient_program"
    with replica(cluster.server, cluster.folder, "late", program_name=program):
        assert wait_for("a denial", lambda: agent.denial(name)) == "csr-too-old"
        assert not agent.certificate(name)


def test_a_leader_that_was_frozen_does_nothing_more(cluster: Cluster) -> None:
    agents = [FakeAgent(cluster.server, f"node-{n}", f"chassis-{n}") for n in range(4)]
    with (
        replica(cluster.server, cluster.folder, "a") as first,
        replica(cluster.server, cluster.folder, "b") as second,
    ):
        agents[0].enrol()
        leads = first if first.said('event="leads"') else second
        other = second if leads is first else first
        os.kill(leads.process.pid, signal.SIGSTOP)
        names = [agent.ask(make_csr(agent.chassis)) for agent in agents]
        wait_for("the other leads", lambda: other.said('event="leads"'))
        for agent, name in zip(agents, names, strict=True):
            wait_for("a certificate", lambda: agent.certificate(name))  # noqa: B023
        os.kill(leads.process.pid, signal.SIGCONT)
        wait_for("it knows", lambda: leads.said('event="leads-no-more"'))
        for agent in agents:
            agent.enrol()
        assert leads.text().count('event="leads"') == 1
    _check_nothing_twice(cluster.admin)


def test_the_api_server_is_killed_and_comes_back(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "node", "chassis")
    with replica(cluster.server, cluster.folder, "a") as operator:
        agent.enrol()
        cluster.server.kill_api_server()
        wait_for("it notices", lambda: operator.said("failed"))
        cluster.server.start_all()
        agent.enrol()
        cluster.server.kill_etcd()
        cluster.server.start_all()
        cluster.server.wait_ready()
        agent.enrol()
        assert operator.process.poll() is None
        assert "Traceback" not in operator.text()
    _check_nothing_twice(cluster.admin)


def test_a_deleted_node_is_revoked_and_may_come_back(cluster: Cluster) -> None:
    gone = FakeAgent(cluster.server, "gone", "chassis-gone")
    stays = FakeAgent(cluster.server, "stays", "chassis-stays")
    with replica(cluster.server, cluster.folder, "a"):
        serial = _serial(gone.enrol())
        stays.enrol()
        before = read_trust(cluster.admin)["generation"]
        done = cluster.server.kubectl("delete", "node", "gone")
        assert done.returncode == 0, done.stderr
        trust = wait_for("the CRL", lambda: _if(read_trust(cluster.admin), "chassis-gone"))
        assert revoked_serials(trust) == {serial}
        assert trust["generation"] > before
        wait_for("no NodeIPsec", lambda: cluster.admin.find(NODE_IPSECS, "gone") is None)
        stays.enrol()
        back = FakeAgent(cluster.server, "gone", "chassis-gone", pod="again")
        back.enrol()
        trust = wait_for("it is back", lambda: _if_not(read_trust(cluster.admin), "chassis-gone"))
        assert revoked_serials(trust) == {serial}


def test_a_node_made_again_while_no_operator_ran_is_revoked(cluster: Cluster) -> None:
    """Its name is there all the time that an operator looks; its UID is another."""
    agent = FakeAgent(cluster.server, "again", "chassis-again")
    with replica(cluster.server, cluster.folder, "a") as operator:
        serial = _serial(agent.enrol())
        assert operator.stop() == 0
    done = cluster.server.kubectl("delete", "node", "again")
    assert done.returncode == 0, done.stderr
    anew = FakeAgent(cluster.server, "again", "chassis-again", pod="anew")
    with replica(cluster.server, cluster.folder, "b"):
        wait_for("it is revoked", lambda: revoked_serials(read_trust(cluster.admin)) == {serial})
        anew.enrol()
        trust = wait_for("it is back", lambda: _if_not(read_trust(cluster.admin), "chassis-again"))
        assert revoked_serials(trust) == {serial}
        stays = anew.enrol()
        certificates = _ledgers(cluster.admin)["chassis-again"]
        assert [bool(one["revoked_at"]) for one in certificates] == [True, False, False]
        assert _serial(stays) == int(certificates[-1]["serial"], 16)


def test_what_a_node_was_is_revoked_when_it_uses_what_it_is(cluster: Cluster) -> None:
    """Its system was made anew, and its Node is the same."""
    agent = FakeAgent(cluster.server, "remade", "chassis-before")
    with replica(cluster.server, cluster.folder, "a"):
        before = _serial(agent.enrol())
        agent.chassis = "chassis-after"
        chassis = f"k8s.ovn.org/node-chassis-id={agent.chassis}"
        done = cluster.server.kubectl("annotate", "--overwrite", "node", "remade", chassis)
        assert done.returncode == 0, done.stderr
        after = _serial(agent.enrol())
        assert revoked_serials(read_trust(cluster.admin)) == set()  # it may run on it still
        agent.confirm(generation=1, serial=f"{after:040x}")
        trust = wait_for("the CRL", lambda: _if(read_trust(cluster.admin), "chassis-before"))
        assert revoked_serials(trust) == {before}


def _if(trust: dict[str, object], chassis: str) -> dict[str, object]:
    names = trust.get("revokedChassis")
    return trust if isinstance(names, list) and chassis in names else {}


def _if_not(trust: dict[str, object], chassis: str) -> dict[str, object]:
    return {} if _if(trust, chassis) else trust


def _serial(pem: bytes) -> int:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem).serial_number


def test_etcd_is_restored_from_an_older_snapshot(cluster: Cluster) -> None:
    first = FakeAgent(cluster.server, "first", "chassis-first")
    second = FakeAgent(cluster.server, "second", "chassis-second")
    with replica(cluster.server, cluster.folder, "a") as operator:
        pem = first.enrol()
        second.enrol()
        wait_for("status", lambda: condition(cluster.admin, "Available")[0] == "True")
        cluster.server.snapshot(cluster.folder / "old")
        done = cluster.server.kubectl("annotate", "nodeipsec", "second", "geneveil.io/revoke=x")
        assert done.returncode == 0, done.stderr
        newer = wait_for("the revocation", lambda: _if(read_trust(cluster.admin), "chassis-second"))
        numbers = _crl_numbers(newer)
        cluster.server.stop()
        cluster.server.restore(cluster.folder / "old")
        cluster.server.start_all()
        cluster.server.wait_ready()
        first.confirm(
            generation=newer["generation"],
            trusts=[newer["renewFrom"]],
            crls={str(newer["renewFrom"]): numbers[0]},
            serial=f"{_serial(pem):040x}",
        )
        wait_for("it is noticed", lambda: operator.said('event="restored"'))
        trust = wait_for(
            "a newer generation",
            lambda: _if_newer(read_trust(cluster.admin), int(str(newer["generation"]))),
        )
        assert _crl_numbers(trust)[0] > numbers[0]
        told = wait_for("Degraded", lambda: _degraded(cluster.admin))
        assert told[1] == "RestoredFromOlderState"
        assert "revoke them again" in told[2]
        first.enrol()


def test_a_certificate_of_the_time_that_a_restored_etcd_forgot_is_replaced(
    cluster: Cluster,
) -> None:
    agent = FakeAgent(cluster.server, "node", "chassis")
    with replica(cluster.server, cluster.folder, "a") as operator:
        first = agent.enrol()
        _say(agent, read_trust(cluster.admin), first)
        cluster.server.snapshot(cluster.folder / "old")
        lost = agent.enrol()
        _say(agent, read_trust(cluster.admin), lost)
        cluster.server.restore(cluster.folder / "old")
        cluster.server.wait_ready()
        assert not _reissue(cluster)
        _say(agent, read_trust(cluster.admin), lost)
        serial = f"{_serial(lost):040x}"
        wait_for("it is told to ask again", lambda: _reissue(cluster) == [serial])
        told = wait_for("Degraded", lambda: _degraded(cluster.admin))
        assert told[1] == "CertificateNotInLedger"
        assert "node" in told[2]
        anew = agent.enrol()
        assert anew not in (first, lost)
        _say(agent, read_trust(cluster.admin), anew)
        wait_for("nothing is left to do", lambda: not _reissue(cluster))
        wait_for("it is well", lambda: not _degraded(cluster.admin))
        assert operator.process.poll() is None
    assert len(_ledgers(cluster.admin)["chassis"]) == 2
    _check_nothing_twice(cluster.admin)


def _say(agent: FakeAgent, trust: dict[str, object], pem: bytes) -> None:
    """That it has loaded what it was told, and this certificate."""
    agent.confirm(
        generation=trust["generation"],
        trusts=[trust["renewFrom"]],
        crls={},
        serial=f"{_serial(pem):040x}",
    )


def _reissue(cluster: Cluster) -> list[str]:
    found = read_trust(cluster.admin).get("reissue", [])
    assert isinstance(found, list)
    return found


def _degraded(admin: KubeClient) -> tuple[str, ...]:
    said = condition(admin, "Degraded")
    return said if said[0] == "True" else ()


def _crl_numbers(trust: dict[str, object]) -> list[int]:
    from cryptography import x509

    crls = trust["crls"]
    assert isinstance(crls, list)
    found = []
    for pem in crls:
        crl = x509.load_pem_x509_crl(pem.encode())
        found.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    return found


def _if_newer(trust: dict[str, object], generation: int) -> dict[str, object]:
    return trust if int(str(trust.get("generation", 0))) > generation else {}


def test_the_switch_is_deleted_and_the_cluster_goes_on(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "node", "chassis")
    with replica(cluster.server, cluster.folder, "a") as operator:
        agent.enrol()
        before = read_trust(cluster.admin)["trustBundle"]
        _unprotect(cluster, "geneveil-keep-switch")
        wait_for("it is gone", lambda: _delete(cluster, "clusteripsec", "cluster"))
        told = wait_for("Degraded", lambda: _is_told(cluster))
        assert told[1] == "SwitchWasDeleted"
        agent.enrol()
        assert operator.stop() == 0
    with replica(cluster.server, cluster.folder, "b"):
        agent.enrol()
        assert read_trust(cluster.admin)["trustBundle"] == before


def _is_told(cluster: Cluster) -> tuple[str, ...]:
    done = cluster.server.kubectl("get", "clusteripsec", "cluster")
    told = _degraded(cluster.admin) if done.returncode == 0 else ()
    return told if told and told[1].startswith("Switch") else ()


def _unprotect(cluster: Cluster, policy: str) -> None:
    """What an administrator can do, whatever policies say."""
    done = cluster.server.kubectl("delete", "validatingadmissionpolicybinding", policy)
    assert done.returncode == 0, done.stderr


def _refusal(cluster: Cluster, document: dict[str, Any]) -> str:
    words = ("create", "--dry-run=server", "-f", "-")
    done = cluster.server.kubectl(*words, stdin=json.dumps(document))
    return done.stderr if done.returncode else ""


def _delete(cluster: Cluster, *what: str) -> bool:
    """Once the API server has noticed that the policy binds no more."""
    return cluster.server.kubectl("delete", *what).returncode == 0


def test_the_authority_is_lost_and_none_is_made_in_its_place(
    cluster: Cluster, kube_programs: Programs
) -> None:
    agent = FakeAgent(cluster.server, "node", "chassis")
    with replica(cluster.server, cluster.folder, "a") as operator:
        agent.enrol()
        assert operator.stop() == 0
    secret = cluster.server.kubectl_json("get", "secret", "geneveil-ca", "-n", NAMESPACE)
    _unprotect(cluster, "geneveil-keep-state")
    wait_for("it is gone", lambda: _delete(cluster, "secret", "geneveil-ca", "-n", NAMESPACE))
    install(cluster.server, kube_programs.helm)
    name = agent.ask(make_csr("chassis"))
    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        secret["metadata"].pop(key, None)
    with replica(cluster.server, cluster.folder, "b") as operator:
        wait_for("it says so", lambda: operator.said("geneveil-ca is gone"))
        assert not agent.certificate(name)
        wait_for("it is refused", lambda: _refusal(cluster, secret))
        assert "only the operator writes it" in _refusal(cluster, secret)
        secret["metadata"]["annotations"] = {"geneveil.io/restore": "it was deleted"}
        cluster.server.kubectl_json("create", "-f", "-", stdin=secret)
        wait_for("it goes on", lambda: agent.certificate(name))


def test_commands_of_people(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "node", "chassis")

    def command(*words: str) -> str:
        done = subprocess.run(
            [*_geneveil(), *words, "--kubernetes"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "KUBECONFIG": str(cluster.server.kubeconfig())},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with replica(cluster.server, cluster.folder, "a") as operator:
        pem = agent.enrol()
        listed = json.loads(command("list", "-o", "json"))
        assert [one["chassis"] for one in listed["certificates"]] == ["chassis"]
        status = json.loads(command("ca", "status", "-o", "json"))
        assert (status["phase"], status["isOperatorRunning"]) == ("steady", True)
        command("revoke", "node", "--reason", "keyCompromise")
        trust = wait_for("the CRL", lambda: _if(read_trust(cluster.admin), "chassis"))
        assert revoked_serials(trust) == {_serial(pem)}
        name = agent.ask(make_csr("chassis"))
        assert wait_for("a denial", lambda: agent.denial(name)) == "node-revoked"
        command("readmit", "node")
        wait_for("it is obeyed", lambda: operator.said('event="node-readmitted"'))
        agent.enrol()
        wait_for("the trust", lambda: _if_not(read_trust(cluster.admin), "chassis"))


def _geneveil() -> list[str]:
    import sys

    return [sys.executable, "-m", "geneveil", "operator"]


def test_one_authority_follows_another(cluster: Cluster) -> None:
    agents = [FakeAgent(cluster.server, f"node-{n}", f"chassis-{n}") for n in range(3)]
    with replica(cluster.server, cluster.folder, "a") as operator:
        serials = {agent.node: _serial(agent.enrol()) for agent in agents}
        FakeAgent(cluster.server, "gone", "chassis-gone").enrol()
        done = cluster.server.kubectl("delete", "node", "gone")
        assert done.returncode == 0, done.stderr
        wait_for("it is revoked", lambda: _if(read_trust(cluster.admin), "chassis-gone"))
        old = read_trust(cluster.admin)
        wish = f"geneveil.io/rotate={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} 2s"
        done = cluster.server.kubectl("annotate", "clusteripsec", "cluster", wish)
        assert done.returncode == 0, done.stderr
        is_killed = False
        until = time.monotonic() + 4 * WAIT_SECONDS
        while time.monotonic() < until:
            trust = read_trust(cluster.admin)
            is_alone = trust["trustBundle"].count("BEGIN CERTIFICATE") == 1
            if trust["renewFrom"] != old["renewFrom"] and is_alone:
                break
            for agent in agents:
                _follow(agent, trust, serials)
            if not is_killed and trust["renewFrom"] != old["renewFrom"]:
                operator.kill()  # and another goes on with it
                is_killed = True
                cluster.admin.delete(LEASES, "geneveil-operator", NAMESPACE)
                second = replica(cluster.server, cluster.folder, "b")
                operator = second.__enter__()
            time.sleep(0.3)
        else:
            pytest.fail(f"the roll-over did not end\n{operator.text()[-3000:]}")
        # what was revoked is forgotten with its authority
        wait_for("its ledger goes", lambda: "chassis-gone" not in _ledgers(cluster.admin))
        assert not revoked_serials(read_trust(cluster.admin))
        second.__exit__(None, None, None)
        assert is_killed
    _check_nothing_twice(cluster.admin)


def _follow(agent: FakeAgent, trust: dict[str, object], serials: dict[str, int]) -> None:
    """What an agent does: renew if its authority does not sign, and confirm what it has."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    bundle = x509.load_pem_x509_certificates(str(trust["trustBundle"]).encode())
    trusts = [one.fingerprint(hashes.SHA256()).hex() for one in bundle]
    numbers = _crl_numbers(trust)
    if trust["wave"] is not None and not agent.has_renewed:
        serials[agent.node] = _serial(agent.enrol())
        agent.has_renewed = True
    agent.confirm(
        generation=trust["generation"],
        trusts=trusts,
        crls=dict(zip(trusts, numbers, strict=False)),
        serial=f"{serials[agent.node]:040x}",
    )
