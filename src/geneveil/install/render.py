"""The objects to apply, in order, from the shipped manifests. Pure."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from geneveil.install.wish import DEFAULT_NAMESPACE, DEFAULT_SIGNER, InstallWish
from geneveil.model.cluster import Mode

Document = dict[str, Any]

API_VERSION = "geneveil.io/v1alpha1"
_CRDS = ("geneveil.io_clusteripsecs.yaml", "geneveil.io_nodeipsecs.yaml")
_AGENT_CONFIG = "agent.yaml"
_CONFIG_HASH = "geneveil.io/config-sha256"
_LAST = {"Deployment": 1, "DaemonSet": 2}
_FIRST = {"CustomResourceDefinition": -3, "Namespace": -2, "ServiceAccount": -1}


def manifest_files(wish: InstallWish) -> tuple[str, ...]:
    """Names of the shipped files that this wish is made of."""
    mode = "disabled" if wish.mode is Mode.DISABLED else "full"
    return (*_CRDS, f"{mode}{'-openshift' if wish.openshift else ''}.yaml")


def render_objects(wish: InstallWish, texts: Iterable[str]) -> list[Document]:
    """All objects, in the order in which they can be applied.

    The switch comes after the policies that protect it and before the agents that need it.

    Args:
        texts: of the files that `manifest_files` names.
    """
    documents: list[Document] = []
    for text in texts:
        documents += [one for one in yaml.safe_load_all(_substitute(wish, text)) if one]
    _settle_config(documents, list(wish.spec.get("genevePorts", ())))
    ordered = sorted(documents, key=lambda one: _FIRST.get(one["kind"], _LAST.get(one["kind"], 0)))
    workloads = [one for one in ordered if one["kind"] in _LAST]
    before = [one for one in ordered if one["kind"] not in _LAST]
    switch = [switch_object(wish)] if wish.makes_switch else []
    return [*before, *switch, *workloads]


def switch_object(wish: InstallWish) -> Document:
    """The ClusterIPsec."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ClusterIPsec",
        "metadata": {"name": "cluster", "labels": {"app.kubernetes.io/name": "geneveil"}},
        "spec": {"mode": wish.mode.value, **wish.spec},
    }


def render_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """The objects as a file for `kubectl apply --server-side`."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block_text)


def _substitute(wish: InstallWish, text: str) -> str:
    """The manifests are text made of defaults that stand nowhere by chance."""
    text = text.replace(DEFAULT_NAMESPACE, wish.namespace).replace(DEFAULT_SIGNER, wish.signer_name)
    return re.sub(r"(?m)^( +image: ).*$", rf"\g<1>{wish.image}", text) if wish.image else text


def _settle_config(documents: list[Document], ports: list[int]) -> None:
    """Write the ports into the agents' configuration, and its hash onto the agents."""
    hashes = {}
    for one in documents:
        if one["kind"] == "ConfigMap" and _AGENT_CONFIG in one["data"]:
            text = one["data"][_AGENT_CONFIG]
            if ports:
                line = f"genevePorts: {json.dumps(ports, separators=(',', ':'))}"
                text = re.sub(r"(?m)^genevePorts: .*$", line, text)
            one["data"][_AGENT_CONFIG] = text
            digest = hashlib.sha256(text.rstrip("\n").encode()).hexdigest()
            hashes[one["metadata"]["name"]] = digest
    for one in documents:
        if one["kind"] == "DaemonSet":
            annotations = one["spec"]["template"]["metadata"]["annotations"]
            annotations[_CONFIG_HASH] = hashes[one["metadata"]["name"]]
