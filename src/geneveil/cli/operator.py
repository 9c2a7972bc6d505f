"""`geneveil operator …`: init, run, token, tokens, list, log, schema."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geneveil.cli import operator_backup, operator_ca, operator_kube, operator_revoke
from geneveil.cli.operator_kube import (
    DEFAULT_NAMESPACE,
    Kubeconfig,
    Kubernetes,
    Namespace,
    opened_ledger,
)
from geneveil.cli.operator_options import (
    DEFAULT_STATE_DIR,
    CaPassphrase,
    Output,
    OutputOption,
    StateDir,
    opened,
    print_json,
    print_table,
    shown,
)
from geneveil.model.clock import SystemClock
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError

if TYPE_CHECKING:
    from geneveil.operator.store import Store

app = typer.Typer(help="The cluster's certificate authority and enrolment.", no_args_is_help=True)


@app.callback()
def _operator() -> None:
    pass


@app.command(
    name="init",
    short_help="Seal the configuration, make the certificate authority.",
    epilog="Example: geneveil operator init --config cluster.yaml --dry-run",
)
def init_command(
    config: Annotated[
        Path, typer.Option("--config", "-c", readable=False, help="A ClusterIPsec file.")
    ],
    state_dir: StateDir = DEFAULT_STATE_DIR,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and change nothing.")
    ] = False,
    ca_passphrase_file: CaPassphrase = None,
) -> None:
    """Seal the cluster's configuration and make its certificate authority.

    Done once, when the cluster is installed. The same configuration again changes nothing;
    another one is refused.
    """
    from geneveil.operator.config import to_settings
    from geneveil.operator.config_check import parse_config
    from geneveil.operator.io import check_state, init_state, read_config_text, read_passphrase

    parsed = parse_config(read_config_text(config), str(config))
    settings = to_settings(parsed)
    policy = settings.certificates
    made = "no certificate authority: IPsec is off, and stays off"
    if settings.mode is Mode.FULL:
        made = (
            f"certificate authority ({policy.key_type.value}, valid "
            f"{policy.ca_lifetime.years_text}); IPsec is on, and stays on"
        )
    if dry_run:
        is_there = check_state(state_dir, parsed)
    else:
        passphrase = read_passphrase(ca_passphrase_file, os.environ)
        now = SystemClock().now()
        is_there = not init_state(state_dir, parsed, now, os.urandom, passphrase)
    if is_there:
        typer.echo(f"{state_dir}: initialised before with this configuration; nothing changed")
    elif dry_run:
        typer.echo(f"{state_dir}: would seal cluster {settings.name}; {made} (nothing changed)")
    else:
        typer.echo(f"{state_dir}: sealed cluster {settings.name}; {made}")


@app.command(
    short_help="Serve the nodes until stopped.",
    epilog="Example: geneveil operator run --listen 192.0.2.10:9443",
)
def run(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    listen: Annotated[
        str, typer.Option("--listen", help="Instead of the configured address and port.")
    ] = "",
    ca_passphrase_file: CaPassphrase = None,
    away_after: Annotated[
        int | None,
        typer.Option(
            "--away-after",
            min=5,
            metavar="SECONDS",
            help="A node that was not heard for so long is away, and holds up no roll-over."
            " By default 600; on Kubernetes 900, and no less.",
        ),
    ] = None,
    kubernetes: Kubernetes = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    identity: Annotated[
        str, typer.Option("--identity", help="Kubernetes: this replica's name in the Lease.")
    ] = "",
    signer_name: Annotated[
        str, typer.Option("--signer-name", help="Kubernetes: which requests are ours.")
    ] = "geneveil.io/node",
    health_listen: Annotated[
        str,
        typer.Option("--health-listen", help="Kubernetes: /healthz and /readyz for probes."),
    ] = "",
) -> None:
    """Serve enrolment, renewals and watches until stopped: over HTTPS, or on Kubernetes."""
    import asyncio
    import signal

    from geneveil.operator.io import read_passphrase
    from geneveil.operator.log_lines import start_logging
    from geneveil.operator.loop import OperatorProcess, RunTerms, parse_listen
    from geneveil.operator.registry import read_cluster

    if kubernetes:
        operator_kube.run_on_kubernetes(
            operator_kube.RunOptions(
                kubeconfig, namespace, identity, signer_name, health_listen, away_after
            )
        )
        return
    with opened(state_dir) as store:
        cluster = read_cluster(store)
        if cluster.settings.mode is Mode.DISABLED:
            typer.echo("IPsec is off in this cluster: nothing to enrol, nothing to do")
            return
        host, port = parse_listen(listen or cluster.config.spec.operator.listen)
        passphrase = read_passphrase(ca_passphrase_file, os.environ)
        terms = RunTerms(passphrase, float(away_after)) if away_after else RunTerms(passphrase)
        start_logging()
        ended_by = asyncio.run(OperatorProcess(state_dir, store, terms=terms).run(host, port))
    if ended_by is signal.SIGINT:
        raise typer.Exit(130)


@app.command(
    epilog="Example: geneveil operator token node-1 --expires 30m --url https://192.0.2.10:9443"
)
def token(
    nodes: Annotated[list[str], typer.Argument(metavar="NODE…", help="Chassis name (system-id).")],
    expires: Annotated[str, typer.Option("--expires", help="30m, 1h, 7d; at most 30d.")] = "1h",
    url: Annotated[str, typer.Option("--url", help="The operator's URL, for the token.")] = "",
    readmit: Annotated[
        bool, typer.Option("--readmit", help="Let a node back that was revoked or removed.")
    ] = False,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a one-time join token for one chassis name, and print it.

    Works while `operator run` runs. Several names give one token each, or none at all. Older
    tokens of the node that were not spent are void from then on.
    """
    from geneveil.operator.minting import TokenWish, make_tokens, parse_expiry
    from geneveil.operator.registry import read_cluster
    from geneveil.operator.views import token_document

    span = parse_expiry(expires)
    wishes = [TokenWish(node, span, url, readmit) for node in nodes]
    with opened(state_dir) as store:
        made = make_tokens(store, read_cluster(store), wishes, SystemClock().now(), os.urandom)
    documents = [token_document(*pair) for pair in made]
    if output is Output.TEXT:
        for document in documents:
            typer.echo(document["token"])
            if document["tokensVoided"]:
                older = ", ".join(document["tokensVoided"])
                typer.echo(f"{document['chassis']}: void from now on: token {older}", err=True)
    else:
        print_json(documents[0] if len(documents) == 1 else {"tokens": documents})


@app.command()
def tokens(state_dir: StateDir = DEFAULT_STATE_DIR, output: OutputOption = Output.TEXT) -> None:
    """Show the join tokens that were made, and what became of them."""
    from geneveil.operator.views import tokens_document

    with opened(state_dir) as store:
        document = tokens_document(store.read_tokens(), SystemClock().now())
    if output is Output.JSON:
        print_json(document)
        return
    columns = {
        "tokenId": "token",
        "chassis": "chassis",
        "createdAt": "made",
        "expiresAt": "expires",
        "status": "status",
    }
    print_table(document["tokens"], columns, "no join token was made yet")


@app.command("list", epilog="Example: geneveil operator list -o json")
def list_command(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    with_all: Annotated[
        bool, typer.Option("--all", help="The operator's own server certificates too.")
    ] = False,
    kubernetes: Kubernetes = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the certificates that were issued."""
    from geneveil.operator.registry import read_cluster
    from geneveil.operator.trust_tables import TrustTables
    from geneveil.operator.views import certificates_document, nodes_document

    with opened_ledger(kubeconfig, namespace) if kubernetes else opened(state_dir) as store:
        renew_after = read_cluster(store).settings.certificates.renew_after
        document = certificates_document(
            store.read_certificates(), renew_after, SystemClock().now(), with_all
        )
        document["nodes"] = nodes_document(TrustTables(store).read_nodes())
    if output is Output.JSON:
        print_json(document)
        return
    columns = {
        "chassis": "chassis",
        "serial": "serial",
        "notBefore": "not before",
        "notAfter": "not after",
        "renewalDue": "renewal due",
        "status": "status",
    }
    print_table(document["certificates"], columns, "no certificate was issued yet")
    shut_out = [row for row in document["nodes"] if row["standing"] != "readmitted"]
    if shut_out:
        titles = {"chassis": "shut out", "standing": "", "reason": "reason", "changedAt": "since"}
        print_table(shut_out, titles, "")


@app.command(
    short_help="Show the audit log: what was issued and refused.",
    epilog="Example: geneveil operator log --check",
)
def log(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    check: Annotated[
        bool, typer.Option("--check", help="Verify that no entry was changed or removed.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as entries come; JSON: one a line.")
    ] = False,
    kubernetes: Kubernetes = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the audit log: every certificate issued, every request refused."""
    from geneveil.operator.views import entry_document, log_document

    if kubernetes and (check or follow):
        raise ConfigError(
            "the log of a Kubernetes cluster is the operator's own output",
            why="only its newest entries are kept as an object, without --check and --follow",
            remedy=f"kubectl logs -n {namespace} -l app.kubernetes.io/component=operator "
            "--prefix --tail=-1",
        )
    with opened_ledger(kubeconfig, namespace) if kubernetes else opened(state_dir) as store:
        if check:
            _check_log(store, output)
            return
        if follow:
            _follow_log(store, output)
            return
        entries = store.read_audit()
    if output is Output.JSON:
        print_json(log_document(entries))
        return
    print_table([entry_document(entry) for entry in entries], _LOG_COLUMNS, "the log is empty")


operator_revoke.register(app)
app.add_typer(operator_ca.app, name="ca")
operator_backup.register(app)


@app.command(epilog="Example: geneveil operator schema > clusteripsec.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from geneveil.operator.config import json_schema

    print_json(json_schema())


_LOG_COLUMNS = {
    "at": "time",
    "event": "event",
    "reason": "reason",
    "chassis": "chassis",
    "remote": "from",
    "detail": "detail",
}


def _check_log(store: "Store", output: Output) -> None:
    from geneveil.operator.audit import GENESIS, check_chain

    entries = store.read_audit()
    serials = [record.serial for record in store.read_certificates()]
    problems = check_chain(entries, serials)
    head = entries[-1].hash if entries else GENESIS
    if output is Output.JSON:
        print_json(
            {"whole": not problems, "entries": len(entries), "head": head, "problems": problems}
        )
    else:
        for problem in problems:
            typer.echo(problem, err=True)
        verdict = "is NOT whole" if problems else "is whole"
        typer.echo(f"the log {verdict}: {len(entries)} entries, head {head}")
    if problems:
        raise typer.Exit(1)


def _follow_log(store: "Store", output: Output) -> None:
    import time

    from geneveil.operator.views import entry_document

    seq = 0
    while True:
        for entry in store.read_audit(after_seq=seq):
            seq = entry.seq
            document = entry_document(entry)
            if output is Output.JSON:
                typer.echo(json.dumps(document))
            else:
                typer.echo("  ".join(shown(document[name]) for name in _LOG_COLUMNS))
        time.sleep(1)
