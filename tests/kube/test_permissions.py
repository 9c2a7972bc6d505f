"""What operator and agent may do on a real API server, and what they may not."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightkube import Client, KubeConfig
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview

from lab import manifests
from lab.kube.arguments import Programs
from lab.kube.cluster import await_established, make_namespace
from lab.kube.objects import AGENT, NAMESPACE, OPERATOR
from lab.kube.server import ApiServer
from tests.kube.operator_bench import wait_for

CSR = "certificatesigningrequests.certificates.k8s.io"
SIGNERS = "signers.certificates.k8s.io"
HERE = ("-n", NAMESPACE)


@pytest.fixture(scope="module")
def installed(
    kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    with ApiServer.start(tmp_path_factory.mktemp("permissions"), kube_programs) as server:
        make_namespace(server)
        for file in ("deploy/crds/", "deploy/manifests/full.yaml"):
            done = server.kubectl("apply", "--server-side", "-f", f"{manifests.TOP / file}")
            assert done.returncode == 0, done.stderr
        await_established(server)
        # the API server follows roles and policies some time after they were made
        for account, questions in GRANTED.items():
            client = _client(server, account)
            wait_for(
                f"{account} may do its work",
                lambda: all(_may(client, *one) for one in questions),  # noqa: B023
            )
        operator = _config(server, OPERATOR)
        wait_for("policies are followed", lambda: _makes_only_its_own(server, operator))
        yield server


def _makes_only_its_own(server: ApiServer, config: Path) -> bool:
    make = ("create", "secret", "generic", *HERE, "--from-literal=k=v", "--dry-run=server")
    return "makes no Secret" in server.kubectl(*make, "other", config=config).stderr


def _config(server: ApiServer, account: str) -> Path:
    made = server.kubectl("create", "token", account, *HERE)
    assert made.returncode == 0, made.stderr
    return server.token_kubeconfig(account, made.stdout.strip())


def _may(client: Client, verb: str, what: str, *where: str) -> bool:
    """Ask the API server itself. `what` is resource.group/name+subresource."""
    what, _, subresource = what.partition("+")
    what, _, name = what.partition("/")
    resource, _, group = what.partition(".")
    namespace = where[1] if where[:1] == ("-n",) else ""
    question = ResourceAttributes(
        verb=verb,
        resource=resource,
        group="*" if verb == "*" else group,
        subresource=subresource,
        name=name,
        namespace=namespace,
    )
    spec = SelfSubjectAccessReviewSpec(resourceAttributes=question)
    answer = client.create(SelfSubjectAccessReview(spec=spec))
    assert answer.status is not None
    return bool(answer.status.allowed)


def _client(server: ApiServer, account: str) -> Client:
    config = KubeConfig.from_file(_config(server, account)).get()
    return Client(config=config, trust_env=False)


GRANTED = {
    AGENT: [
        ("get", "configmaps/geneveil-trust", *HERE),
        ("watch", "configmaps/geneveil-trust", *HERE),
        ("create", CSR),
        ("get", CSR),
        ("watch", CSR),
        ("get", "nodeipsecs.geneveil.io"),
        ("patch", "nodeipsecs.geneveil.io+status"),
    ],
    OPERATOR: [
        ("list", CSR),
        ("watch", CSR),
        ("delete", CSR),
        ("update", f"{CSR}+approval"),
        ("update", f"{CSR}+status"),
        ("approve", f"{SIGNERS}/geneveil.io/node"),
        ("sign", f"{SIGNERS}/geneveil.io/node"),
        ("list", "nodes"),
        ("watch", "nodes"),
        ("list", "clusteripsecs.geneveil.io"),
        ("watch", "clusteripsecs.geneveil.io"),
        ("create", "clusteripsecs.geneveil.io"),
        ("patch", "clusteripsecs.geneveil.io+status"),
        ("list", "nodeipsecs.geneveil.io"),
        ("watch", "nodeipsecs.geneveil.io"),
        ("create", "nodeipsecs.geneveil.io"),
        ("delete", "nodeipsecs.geneveil.io"),
        ("get", "secrets/geneveil-ca", *HERE),
        ("update", "secrets/geneveil-ca", *HERE),
        ("create", "secrets", *HERE),
        ("get", "configmaps", *HERE),
        ("list", "configmaps", *HERE),
        ("create", "configmaps", *HERE),
        ("update", "configmaps", *HERE),
        ("delete", "configmaps", *HERE),
        ("create", "leases.coordination.k8s.io", *HERE),
        ("get", "leases.coordination.k8s.io/geneveil-operator", *HERE),
        ("update", "leases.coordination.k8s.io/geneveil-operator", *HERE),
        ("create", "events", "-n", "default"),
    ],
}

REFUSED = {
    AGENT: [
        ("get", "secrets/geneveil-ca", *HERE),
        ("list", "secrets", *HERE),
        ("get", "configmaps/geneveil-ledger-operator", *HERE),
        ("list", "configmaps", *HERE),
        ("update", "configmaps/geneveil-trust", *HERE),
        ("approve", f"{SIGNERS}/geneveil.io/node"),
        ("sign", f"{SIGNERS}/geneveil.io/node"),
        ("update", f"{CSR}+approval"),
        ("update", f"{CSR}+status"),
        ("delete", CSR),
        ("create", "nodeipsecs.geneveil.io"),
        ("patch", "nodeipsecs.geneveil.io"),
        ("delete", "nodeipsecs.geneveil.io"),
        ("get", "clusteripsecs.geneveil.io"),
        ("patch", "clusteripsecs.geneveil.io"),
        ("get", "nodes"),
        ("list", "pods", "-A"),
        ("create", "serviceaccounts+token", *HERE),
        ("update", "leases.coordination.k8s.io/geneveil-operator", *HERE),
        ("*", "*"),
    ],
    OPERATOR: [
        ("approve", f"{SIGNERS}/kubernetes.io/kube-apiserver-client"),
        ("sign", f"{SIGNERS}/kubernetes.io/kubelet-serving"),
        ("approve", SIGNERS),
        ("create", CSR),
        ("get", "secrets/another", *HERE),
        ("list", "secrets", *HERE),
        ("get", "secrets/geneveil-ca", "-n", "kube-system"),
        ("create", "secrets", "-n", "kube-system"),
        ("delete", "secrets/geneveil-ca", *HERE),
        ("get", "configmaps", "-n", "kube-system"),
        ("patch", "clusteripsecs.geneveil.io"),
        ("delete", "clusteripsecs.geneveil.io"),
        ("patch", "nodeipsecs.geneveil.io+status"),
        ("patch", "nodes"),
        ("delete", "nodes"),
        ("list", "pods", "-A"),
        ("create", "serviceaccounts+token", *HERE),
        ("delete", "validatingadmissionpolicybindings.admissionregistration.k8s.io"),
        ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
        ("update", "leases.coordination.k8s.io/another", *HERE),
        ("create", "pods", *HERE),
        ("*", "*"),
    ],
}


@pytest.mark.parametrize("account", [AGENT, OPERATOR])
def test_what_the_programs_do_is_granted(installed: ApiServer, account: str) -> None:
    client = _client(installed, account)
    lacking = [question for question in GRANTED[account] if not _may(client, *question)]
    assert lacking == []


@pytest.mark.parametrize("account", [AGENT, OPERATOR])
def test_what_would_be_dangerous_is_refused(installed: ApiServer, account: str) -> None:
    client = _client(installed, account)
    granted = [question for question in REFUSED[account] if _may(client, *question)]
    assert granted == []


def test_attempts_with_an_agents_token_are_refused(installed: ApiServer) -> None:
    config = _config(installed, AGENT)
    for attempt in (
        ("get", "secret", "geneveil-ca", *HERE),
        ("get", "configmaps", *HERE),
        ("get", "nodes"),
        ("delete", "nodeipsec", "one"),
    ):
        done = installed.kubectl(*attempt, config=config)
        assert done.returncode != 0, attempt
        assert "Forbidden" in done.stderr, attempt


def test_the_operator_makes_no_secret_but_its_own(installed: ApiServer) -> None:
    config = _config(installed, OPERATOR)
    make = ("create", "secret", "generic", *HERE, "--from-literal=k=v")
    refused = installed.kubectl(*make, "other", "--dry-run=server", config=config)
    assert "geneveil's operator makes no Secret but geneveil-ca" in refused.stderr
    made = installed.kubectl(*make, "geneveil-ca", "--dry-run=server", config=config)
    assert made.returncode == 0, made.stderr


def test_the_operator_writes_no_config_map_but_its_own(installed: ApiServer) -> None:
    """Agents are root in the nodes' network, and run by what geneveil-agent says."""
    config = _config(installed, OPERATOR)
    words = "geneveil's operator writes no ConfigMap but geneveil-trust and geneveil-ledger-*"
    dry = ("--dry-run=server", "-f", "-")
    # as a controller manager puts it into every namespace; agents believe the API server by it
    authority = ("kube-root-ca.crt", "--from-literal=ca.crt=x")
    assert installed.kubectl("create", "configmap", *authority, *HERE).returncode == 0
    for name in ("geneveil-agent", "kube-root-ca.crt"):
        there = installed.kubectl_json("get", "configmap", name, *HERE)
        there["data"]["agent.yaml"] = "mode: Disabled"
        refused = installed.kubectl("replace", *dry, stdin=json.dumps(there), config=config)
        assert words in refused.stderr, name
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}?dryRun=All"
        refused = installed.kubectl("delete", "--raw", path, config=config)
        assert "and deletes only the latter" in refused.stderr, name
    for metadata in (
        {"name": "another", "namespace": NAMESPACE},
        {"generateName": "another-", "namespace": NAMESPACE},
    ):
        new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        refused = installed.kubectl("create", *dry, stdin=json.dumps(new), config=config)
        assert words in refused.stderr, metadata
    for name in ("geneveil-trust", "geneveil-ledger-operator", "geneveil-ledger-0123"):
        metadata = {"name": name, "namespace": NAMESPACE}
        new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        made = installed.kubectl("create", *dry, stdin=json.dumps(new), config=config)
        assert made.returncode == 0, made.stderr


def test_the_operator_deletes_and_approves_only_its_own_requests(installed: ApiServer) -> None:
    config = _config(installed, OPERATOR)
    ours, theirs = "ours", "theirs"
    for name, signer in ((ours, "geneveil.io/node"), (theirs, "example.test/other")):
        done = installed.kubectl("create", "-f", "-", stdin=_request(name, signer))
        assert done.returncode == 0, done.stderr
    as_agent = _config(installed, AGENT)
    refused = installed.kubectl("certificate", "approve", ours, config=as_agent)
    assert "Forbidden" in refused.stderr
    refused = installed.kubectl("certificate", "approve", theirs, config=config)
    assert "Forbidden" in refused.stderr
    approved = installed.kubectl("certificate", "approve", ours, config=config)
    assert approved.returncode == 0, approved.stderr
    refused = installed.kubectl("delete", "csr", theirs, config=config)
    assert "geneveil's operator deletes only requests that it was asked to sign" in refused.stderr
    deleted = installed.kubectl("delete", "--wait=false", "csr", ours, config=config)
    assert deleted.returncode == 0, deleted.stderr


def _request(name: str, signer: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = csr.public_bytes(serialization.Encoding.PEM)
    spec = {
        "signerName": signer,
        "request": base64.b64encode(pem).decode(),
        "usages": ["ipsec tunnel"],
    }
    return json.dumps(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": spec,
        }
    )
