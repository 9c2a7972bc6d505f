"""MachineConfigs of OKD and OpenShift that bring files and a unit to every node. Pure.

Source: openshift/api, machineconfiguration/v1/types.go; ignition's specification 3.2.
"""

import base64
from dataclasses import dataclass
from typing import Any

from geneveil.install.render import Document

POOLS = ("master", "worker")


@dataclass(frozen=True)
class HostUnit:
    """A unit of systemd, and the file that it needs."""

    name: str
    text: str
    file_path: str
    file_text: str


def render_machine_configs(unit: HostUnit) -> list[Document]:
    """One MachineConfig for each pool of machines that every cluster has."""
    return [_machine_config(pool, unit) for pool in POOLS]


def _machine_config(pool: str, unit: HostUnit) -> Document:
    return {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {
            "name": f"50-{pool}-{unit.name.removesuffix('.service')}",
            "labels": {
                "machineconfiguration.openshift.io/role": pool,
                "app.kubernetes.io/name": "geneveil",
            },
        },
        "spec": {"config": _ignition(unit)},
    }


def _ignition(unit: HostUnit) -> dict[str, Any]:
    encoded = base64.b64encode(unit.file_text.encode()).decode()
    file = {
        "path": unit.file_path,
        "mode": 0o644,
        "overwrite": True,
        "contents": {"source": f"data:text/plain;charset=utf-8;base64,{encoded}"},
    }
    return {
        "ignition": {"version": "3.2.0"},
        "storage": {"files": [file]},
        "systemd": {"units": [{"name": unit.name, "enabled": True, "contents": unit.text}]},
    }
