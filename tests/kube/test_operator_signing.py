"""The operator on a real API server: enrolment, renewal, and every attack that is to fail."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import NODE_IPSECS, SIGNING_REQUESTS
from geneveil.operator.kubernetes.waiting import MOST_WAITING
from lab.kube.arguments import Programs
from lab.kube.cluster import make_node
from lab.kube.server import ApiServer
from tests.kube.operator_bench import (
    NAMESPACE,
    SIGNER,
    FakeAgent,
    OperatorReplica,
    condition,
    install,
    make_csr,
    read_trust,
    replica,
    request_name,
    switch_on,
    wait_for,
)


@dataclass
class Cluster:
    server: ApiServer
    admin: KubeClient
    operator: OperatorReplica


@pytest.fixture(scope="module")
def cluster(kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from lab.kube.cluster import make_namespace

    folder = tmp_path_factory.mktemp("signing")
    with ApiServer.start(folder / "kube", kube_programs) as server:
        make_namespace(server)
        install(server, kube_programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        with replica(server, folder, "one") as operator:
            yield Cluster(server, admin, operator)
        print(operator.text()[-6000:])


def test_a_node_enrols_and_renews(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "enrols", "chassis-enrols")
    first = x509.load_pem_x509_certificate(agent.enrol())
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["chassis-enrols"]
    second = x509.load_pem_x509_certificate(agent.enrol())
    assert second.serial_number != first.serial_number
    trust = read_trust(cluster.admin)
    bundle = x509.load_pem_x509_certificates(trust["trustBundle"].encode())
    for certificate in (first, second):
        certificate.verify_directly_issued_by(bundle[0])
    assert trust["settings"]["mode"] == "Full"


def test_a_node_gets_its_node_ipsec_owned_by_it(cluster: Cluster) -> None:
    node = make_node(cluster.server, "owned")
    made = wait_for("the NodeIPsec", lambda: cluster.admin.find(NODE_IPSECS, "owned"))
    assert made is not None
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", node["metadata"]["uid"])


@pytest.fixture(scope="module")
def agent(cluster: Cluster) -> FakeAgent:
    return FakeAgent(cluster.server, "attacker", "chassis-attacker")


@pytest.fixture(scope="module")
def victim(cluster: Cluster) -> FakeAgent:
    victim = FakeAgent(cluster.server, "victim", "chassis-victim")
    victim.enrol()
    return victim


def _denied(cluster: Cluster, agent: FakeAgent, name: str) -> str:
    reason = wait_for(f"a denial of {name}", lambda: agent.denial(name))
    assert not agent.certificate(name)

    def events() -> list[dict[str, Any]]:
        chosen = f"--field-selector=involvedObject.name={name}"
        found = cluster.server.kubectl_json("get", "events", "-n", "default", chosen)
        return list(found["items"])

    # the Event comes after the condition that it is about
    (event,) = wait_for(f"the Event about {name}", events)
    assert event["type"] == "Warning"
    return reason


ATTACKS: dict[str, tuple[Callable[[], bytes], dict[str, Any], str]] = {
    "another node's name": (
        lambda: make_csr("chassis-victim"),
        {},
        "csr-common-name",
    ),
    "an extra name": (
        lambda: make_csr("chassis-attacker", names=("chassis-attacker", "chassis-victim")),
        {},
        "csr-alternative-name",
    ),
    "a weak key": (
        lambda: make_csr("chassis-attacker", ec.generate_private_key(ec.SECP224R1())),
        {},
        "csr-key-type",
    ),
    "a key of another kind": (
        lambda: make_csr("chassis-attacker", rsa.generate_private_key(65537, 2048)),
        {},
        "csr-key-type",
    ),
    "other usages": (
        lambda: make_csr("chassis-attacker"),
        {"usages": ["ipsec tunnel", "server auth"]},
        "csr-usages",
    ),
    "a lifetime of its own": (
        lambda: make_csr("chassis-attacker"),
        {"expirationSeconds": 86400 * 365},
        "csr-duration",
    ),
    "another object's name": (
        lambda: make_csr("chassis-attacker"),
        {"name": "geneveil-attacker-0000000000"},
        "csr-name",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_with_a_nodes_own_token(
    cluster: Cluster, agent: FakeAgent, victim: FakeAgent, attack: str
) -> None:
    make, spec, reason = ATTACKS[attack]
    assert _denied(cluster, agent, agent.ask(make(), **spec)) == reason


def test_of_one_node_so_many_requests_wait_and_the_log_says_so_once(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "unknown", "")
    wait_for("its NodeIPsec", lambda: cluster.admin.find(NODE_IPSECS, "unknown"))
    names = [agent.ask(make_csr("chassis-unknown")) for _ in range(MOST_WAITING + 3)]

    def denied() -> list[str]:
        return [name for name in names if agent.denial(name)]

    wait_for("the last are refused", lambda: len(denied()) >= 3)
    assert {agent.denial(name) for name in denied()} == {"too-many-waiting"}
    waiting = [name for name in names if name not in denied()]
    # each is looked at once a second; another node is served meanwhile
    FakeAgent(cluster.server, "known", "chassis-known").enrol()
    text = cluster.operator.text()
    assert waiting
    for name in waiting:
        told = text.count(f'event="request-waits" request="{name}"')
        assert 1 <= told <= text.count('event="leads"')
    annotation = "k8s.ovn.org/node-chassis-id=chassis-unknown"
    done = cluster.server.kubectl("annotate", "--overwrite", "node", "unknown", annotation)
    assert done.returncode == 0, done.stderr
    wait_for("they are decided", lambda: any(agent.certificate(name) for name in waiting))


def test_what_a_person_approved_and_is_refused_is_in_nobodys_way(cluster: Cluster) -> None:
    """The API server takes no `Denied` beside `Approved`."""
    agent = FakeAgent(cluster.server, "approved", "")
    wait_for("its NodeIPsec", lambda: cluster.admin.find(NODE_IPSECS, "approved"))
    name = agent.ask(make_csr("chassis-another"))
    done = cluster.server.kubectl("certificate", "approve", name)
    assert done.returncode == 0, done.stderr
    annotation = "k8s.ovn.org/node-chassis-id=chassis-approved"
    done = cluster.server.kubectl("annotate", "--overwrite", "node", "approved", annotation)
    assert done.returncode == 0, done.stderr

    def failed() -> list[str]:
        conditions = agent.read(name).get("conditions") or ()
        return [one["reason"] for one in conditions if one["type"] == "Failed"]

    assert wait_for("it failed", failed) == ["csr-common-name"]
    assert not agent.certificate(name)
    agent.chassis = "chassis-approved"
    agent.enrol()


def test_what_is_too_large_is_refused_unread(cluster: Cluster, agent: FakeAgent) -> None:
    csr = make_csr("chassis-attacker")
    assert _denied(cluster, agent, agent.ask(csr + b"\n" * 700_000)) == "csr-too-large"
    name = request_name("attacker", make_csr("chassis-attacker"))
    document = {
        "metadata": {"name": name, "annotations": {"example.org/a": "x" * 200_000}},
        "spec": {
            "request": base64.b64encode(csr).decode(),
            "signerName": SIGNER,
            "usages": ["ipsec tunnel"],
        },
    }
    agent.client.create(SIGNING_REQUESTS, document)
    assert _denied(cluster, agent, name) == "csr-too-large"


def test_an_answer_takes_nothing_else_from_a_request(cluster: Cluster) -> None:
    agent = FakeAgent(cluster.server, "labelled", "chassis-labelled")
    csr = make_csr("chassis-labelled")
    name = request_name("labelled", csr)
    document = {
        "metadata": {"name": name, "labels": {"a": "b"}, "annotations": {"example.org/a": "c"}},
        "spec": {
            "request": base64.b64encode(csr).decode(),
            "signerName": SIGNER,
            "usages": ["ipsec tunnel"],
        },
    }
    agent.client.create(SIGNING_REQUESTS, document)
    wait_for("a certificate", lambda: agent.certificate(name))
    found = agent.client.read(SIGNING_REQUESTS, name)
    assert base64.b64decode(found["spec"]["request"]) == csr
    assert found["metadata"]["labels"] == {"a": "b"}
    assert found["metadata"]["annotations"] == {"example.org/a": "c"}


def test_a_certificate_is_not_asked_for_twice_with_one_key(
    cluster: Cluster, agent: FakeAgent
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = agent.ask(make_csr("chassis-attacker", key))
    wait_for("the certificate", lambda: agent.certificate(name))
    assert _denied(cluster, agent, agent.ask(make_csr("chassis-attacker", key))) == "csr-key-reused"


def test_the_same_bytes_under_another_name(cluster: Cluster, agent: FakeAgent) -> None:
    csr = make_csr("chassis-attacker")
    name = agent.ask(csr)
    wait_for("the certificate", lambda: agent.certificate(name))
    again = agent.ask(csr, name="geneveil-attacker-again")
    assert _denied(cluster, agent, again) == "csr-name"


def test_a_request_taken_over_from_another_node(
    cluster: Cluster, agent: FakeAgent, victim: FakeAgent
) -> None:
    csr = make_csr("chassis-victim")
    name = agent.ask(csr, name=request_name("victim", csr))
    assert _denied(cluster, agent, name) == "csr-name"


def _ask_as(cluster: Cluster, client: KubeClient, csr: bytes, node: str) -> str:
    name = request_name(node, csr)
    document = {
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(csr).decode(),
            "signerName": SIGNER,
            "usages": ["ipsec tunnel"],
        },
    }
    client.create(SIGNING_REQUESTS, document)
    return name


def test_a_human_gets_none(cluster: Cluster, agent: FakeAgent) -> None:
    name = _ask_as(cluster, cluster.admin, make_csr("chassis-attacker"), "attacker")
    assert _denied(cluster, agent, name) == "requester-not-agent"


def _account_token(server: ApiServer, account: str) -> KubeClient:
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = str(server.post(path, request)["status"]["token"])
    return open_client(server.token_kubeconfig(f"unbound-{account}", token))


def test_a_token_that_is_bound_to_no_node_gets_none(cluster: Cluster, agent: FakeAgent) -> None:
    client = _account_token(cluster.server, "geneveil-agent")
    name = _ask_as(cluster, client, make_csr("chassis-attacker"), "attacker")
    assert _denied(cluster, agent, name) == "requester-not-bound"


def test_another_service_account_gets_none(cluster: Cluster, agent: FakeAgent) -> None:
    done = cluster.server.kubectl("create", "serviceaccount", "other", "-n", NAMESPACE)
    assert done.returncode == 0, done.stderr
    done = cluster.server.kubectl(
        "create", "clusterrolebinding", "other", "--clusterrole=geneveil-agent",
        f"--serviceaccount={NAMESPACE}:other",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    client = _account_token(cluster.server, "other")
    name = _ask_as(cluster, client, make_csr("chassis-attacker"), "attacker")
    assert _denied(cluster, agent, name) == "requester-not-agent"


def test_a_chassis_that_another_node_has(cluster: Cluster, victim: FakeAgent) -> None:
    twin = FakeAgent(cluster.server, "twin", "chassis-victim")
    name = twin.ask(make_csr("chassis-victim"))
    assert _denied(cluster, twin, name) == "chassis-claimed-twice"
    assert victim.enrol()  # who had it first goes on


def test_a_chassis_that_two_claim_at_once(cluster: Cluster) -> None:
    both = [FakeAgent(cluster.server, f"both-{n}", "chassis-both") for n in (1, 2)]
    for one in both:  # the operator makes it for every Node that it has heard of
        wait_for("its NodeIPsec", lambda: cluster.admin.find(NODE_IPSECS, one.node))  # noqa: B023
    for one in both:
        assert _denied(cluster, one, one.ask(make_csr("chassis-both"))) == "chassis-claimed-twice"


def test_a_token_cannot_mint_without_end(cluster: Cluster) -> None:
    thief = FakeAgent(cluster.server, "thief", "chassis-thief")
    for _ in range(5):
        thief.enrol()
    name = thief.ask(make_csr("chassis-thief"))
    assert _denied(cluster, thief, name) == "too-many-certificates"


def test_another_signers_request_is_left_alone(cluster: Cluster) -> None:
    other = FakeAgent(cluster.server, "other-signer", "chassis-other-signer")
    name = other.ask(make_csr("chassis-other-signer"), signerName="example.org/other")
    assert other.enrol()
    assert not other.read(name)


def test_the_status_tells(cluster: Cluster, victim: FakeAgent) -> None:
    wait_for("Available", lambda: condition(cluster.admin, "Available")[0] == "True")
    as_expected = ("False", "AsExpected")
    wait_for("not Degraded", lambda: condition(cluster.admin, "Degraded")[:2] == as_expected)


def test_permissions_are_enough(cluster: Cluster, victim: FakeAgent, tmp_path: Path) -> None:
    assert "orbidden" not in cluster.operator.text()
