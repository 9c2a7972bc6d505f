"""`geneveil install`: put geneveil into a Kubernetes cluster."""

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geneveil import __version__
from geneveil.cli.kubeconfig import choose_kubeconfig
from geneveil.cli.operator_options import Output, OutputOption
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError

if TYPE_CHECKING:
    from geneveil.install.plan import Step
    from geneveil.install.port import ClusterPort
    from geneveil.install.render import Document
    from geneveil.install.standing import Asked
    from geneveil.install.wish import InstallWish

_HELP = """Put geneveil into a Kubernetes cluster, or bring it up to date.

Shows what it will do and asks. IPsec is off unless --mode Full (or --from, or --config) says so;
it can be switched on only now, and is never off again.

Examples:

  geneveil install --mode Full --image registry/geneveil:0.1.0 --dry-run

  geneveil install --from cluster-network-03-config.yml --dry-run

  geneveil install --mode Full --render | kubectl diff --server-side -f -
"""


_Mode = Annotated[
    Mode | None,
    typer.Option("--mode", help="Of a new cluster; Disabled if nothing says otherwise."),
]
_OkdManifest = Annotated[
    Path | None,
    typer.Option(
        "--from", readable=False, help="The installer's manifest: cluster-network-03-config.yml."
    ),
]
_Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", readable=False, help="A ClusterIPsec file, for all settings."),
]
_Image = Annotated[
    str,
    typer.Option(
        "--image",
        help="Where nodes find the image of deploy/image; what runs there, else "
        f"geneveil:{__version__}.",
    ),
]
_Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Where operator and agents run; geneveil-system if they run nowhere yet.",
        show_default=False,
    ),
]
_SignerName = Annotated[
    str | None,
    typer.Option(
        "--signer-name",
        help="By which nodes ask for certificates; geneveil.io/node if there is none yet.",
        show_default=False,
    ),
]
_Openshift = Annotated[
    bool | None,
    typer.Option(
        "--openshift/--no-openshift",
        help="Add what OpenShift and OKD need; if not said, where the cluster is one, or --from.",
        show_default=False,
    ),
]
_Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", readable=False, help="Instead of KUBECONFIG and ~/.kube/config."),
]
_Context = Annotated[str, typer.Option("--context", help="Of the kubeconfig.")]
_Render = Annotated[
    bool, typer.Option("--render", help="Print what would be applied; ask no cluster.")
]
_RenderMachineConfig = Annotated[
    bool,
    typer.Option(
        "--render-machine-config",
        help="Print MachineConfigs that guard OKD's nodes from their first boot on.",
    ),
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Let the API server check it; change nothing.")
]
_Force = Annotated[
    bool, typer.Option("--force-conflicts", help="Take over fields that others manage.")
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True)
class _Terms:
    """How to go about it."""

    dry_run: bool
    force: bool
    yes: bool
    output: Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("install", help=_HELP, short_help="Put geneveil into a Kubernetes cluster.")(
        install
    )


def install(
    mode: _Mode = None,
    okd_manifest: _OkdManifest = None,
    config: _Config = None,
    image: _Image = "",
    namespace: _Namespace = None,
    signer_name: _SignerName = None,
    openshift: _Openshift = None,
    kubeconfig: _Kubeconfig = None,
    context: _Context = "",
    render: _Render = False,
    render_machine_config: _RenderMachineConfig = False,
    dry_run: _DryRun = False,
    force_conflicts: _Force = False,
    yes: _Yes = False,
    output: OutputOption = Output.TEXT,
) -> None:
    from geneveil.install.render import render_yaml
    from geneveil.install.standing import Asked, settle_wish
    from geneveil.install.wish import check_wish

    if okd_manifest is not None and openshift is None:
        openshift = True
    asked_mode, spec = _asked_for(mode, okd_manifest, config)
    asked = Asked(asked_mode, spec, namespace, signer_name, image, openshift)
    wish = settle_wish(asked, None, is_openshift=False)
    check_wish(wish)
    if render or render_machine_config:
        documents = _machine_configs(wish) if render_machine_config else _documents(wish)
        typer.echo(render_yaml(documents), nl=False)
        return
    from geneveil.install.io import open_cluster

    cluster = open_cluster(choose_kubeconfig(kubeconfig, os.environ), context)
    _install(cluster, asked, _Terms(dry_run, force_conflicts, yes, output))


def _install(cluster: "ClusterPort", asked: "Asked", terms: _Terms) -> None:
    from geneveil.install.apply import plan_installation
    from geneveil.install.plan import Action

    wish, is_first = _settle(cluster, asked)
    documents = _documents(wish)
    steps = plan_installation(cluster, documents, force=terms.force)
    if terms.output is Output.TEXT:
        _show(wish, steps, is_first=is_first)
    if terms.dry_run or all(step.action is Action.UNCHANGED for step in steps):
        _finish(wish, steps, terms, applied=False)
        return
    _confirm(terms.yes)
    _apply(cluster, documents, steps, terms.force)
    _finish(wish, steps, terms, applied=True)


def _settle(cluster: "ClusterPort", asked: "Asked") -> "tuple[InstallWish, bool]":
    """What to install, by what was asked and what the cluster has; whether it has no switch yet."""
    from geneveil.install.apply import read_standing, read_switch
    from geneveil.install.okd import parse_okd_network
    from geneveil.install.plan import settle_mode
    from geneveil.install.standing import NETWORK, follow_okd, settle_wish

    network = cluster.read(NETWORK)
    wish = settle_wish(asked, read_standing(cluster), is_openshift=network is not None)
    there, is_gone = read_switch(cluster, wish)
    if there is None and network is not None:
        asked = follow_okd(asked, parse_okd_network(network))
    spec = asked.spec
    if there is not None and (is_gone or not spec):
        # what it was installed with, and not the defaults
        spec = {k: v for k, v in there["spec"].items() if k != "mode"}
    mode = settle_mode(asked.mode, there)
    return replace(wish, mode=mode, spec=spec, makes_switch=not is_gone), there is None


def _asked_for(
    mode: Mode | None, okd_manifest: Path | None, config: Path | None
) -> tuple[Mode | None, dict[str, Any]]:
    given = [
        name
        for name, value in (("--mode", mode), ("--from", okd_manifest), ("--config", config))
        if value is not None
    ]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} both say what mode to install; give one of them")
    if okd_manifest is not None:
        from geneveil.install.okd import parse_okd_manifest

        switch = parse_okd_manifest(_read(okd_manifest), str(okd_manifest))
        return switch.mode, switch.spec
    if config is not None:
        from geneveil.operator.config_check import parse_config

        parsed = parse_config(_read(config), str(config))
        # only what was written: what was not gets the API server's defaults, which are the same
        spec = parsed.spec.model_dump(by_alias=True, mode="json", exclude_unset=True)
        spec.pop("operator", None)
        return Mode(spec.pop("mode", Mode.DISABLED.value)), spec
    return mode, {}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read", why=why) from None


def _documents(wish: "InstallWish") -> "list[Document]":
    from geneveil.install.io import read_manifest
    from geneveil.install.render import manifest_files, render_objects

    return render_objects(wish, [read_manifest(name) for name in manifest_files(wish)])


def _machine_configs(wish: "InstallWish") -> "list[Document]":
    from geneveil.agent.boot_files.io import boot_files
    from geneveil.agent.boot_files.plan import Owner
    from geneveil.agent.config import AgentConfig
    from geneveil.install.machine_config import HostUnit, render_machine_configs
    from geneveil.model.guard import GuardSpec

    if wish.mode is not Mode.FULL:
        raise ConfigError(
            "with mode: Disabled nodes have no guard", remedy="give --mode Full, --from or --config"
        )
    ports = wish.spec.get("genevePorts", AgentConfig().geneve_ports)
    files = boot_files(GuardSpec(tuple(sorted(set(ports)))), Owner.MACHINE_CONFIG)
    unit = HostUnit(files.paths.unit.name, files.unit, f"/{files.paths.script}", files.script)
    return render_machine_configs(unit)


def _show(wish: "InstallWish", steps: "list[Step]", *, is_first: bool) -> None:
    from geneveil.cli.operator_options import print_table

    rows = [{**step.document(), "fields": ", ".join(step.fields)} for step in steps]
    columns = {
        "action": "action",
        "kind": "kind",
        "namespace": "namespace",
        "name": "name",
        "fields": "what changes",
    }
    print_table(rows, columns, "nothing to apply")
    if is_first and wish.mode is Mode.FULL:
        typer.echo("IPsec is switched on (mode: Full), and is never off again.")
    elif not wish.makes_switch:
        typer.echo(
            "The ClusterIPsec is gone from this cluster, where IPsec is on. It is not made here: "
            "the operator makes it anew from what was sealed."
        )
    elif is_first:
        typer.echo("IPsec is off (mode: Disabled), and cannot be switched on later.")


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            "nobody can be asked whether to go on", remedy="nothing was changed; --yes goes on"
        )
    if not typer.confirm("Apply this?", err=True):
        raise ConfigError("nothing was changed")


def _apply(
    cluster: "ClusterPort", documents: "list[Document]", steps: "list[Step]", force_conflicts: bool
) -> None:
    from geneveil.install.apply import apply_installation

    done: list[Step] = []
    try:
        apply_installation(cluster, documents, steps, done.append, force=force_conflicts)
    except BaseException:
        typer.echo(
            f"{len(done)} of {len(steps)} objects are in place; the same command goes on", err=True
        )
        raise


def _finish(wish: "InstallWish", steps: "list[Step]", terms: _Terms, *, applied: bool) -> None:
    if terms.output is Output.JSON:
        document = {
            "mode": wish.mode.value,
            "namespace": wish.namespace,
            "applied": applied,
            "objects": [step.document() for step in steps],
        }
        typer.echo(json.dumps(document, indent=2))
    elif applied:
        typer.echo("applied; kubectl get clusteripsec,nodeipsec shows how it goes")
    elif terms.dry_run:
        typer.echo("nothing was changed (--dry-run)")
    else:
        typer.echo("all is in place already; nothing was changed")
