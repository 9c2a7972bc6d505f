"""What is kept of a fault that did not go as it must: each node's state, logs, the frames."""

import asyncio
import shutil
from pathlib import Path

from geneveil.model.errors import GeneveilError
from lab.capture_slice import CaptureSlice
from lab.stage import Stage

_LOOKS = {
    "status.json": "cat /run/geneveil/status.json",
    "xfrm-state.txt": "ip -s xfrm state",
    "xfrm-policy.txt": "ip xfrm policy",
    "xfrm-stat.txt": "cat /proc/net/xfrm_stat",
    "nft.txt": "nft list ruleset",
    "swanctl.txt": "swanctl --list-conns --uri unix:///run/charon.vici; "
    "swanctl --list-sas --uri unix:///run/charon.vici",
    "ovs.txt": "ovs-vsctl show; ovs-vsctl list Open_vSwitch",
    "processes.txt": "ps -eo pid,ppid,stat,etimes,args; ip -br addr; tc qdisc; date",
}
_LOOK_SECONDS = 20.0


async def keep_evidence(stage: Stage, name: str, frames: CaptureSlice) -> Path:
    """Write everything into a folder of this fault's own, and return it."""
    layout = stage.running.layout
    top = layout.data_dir / "evidence" / name
    shutil.rmtree(top, ignore_errors=True)

    async def look(node: str) -> None:
        folder = top / node
        folder.mkdir(parents=True)
        shutil.copytree(layout.disk(node) / "log", folder / "log")
        for file, command in _LOOKS.items():
            try:
                done = await stage.running.remote(node).run(command, seconds=_LOOK_SECONDS)
                text = done.stdout + done.stderr
            except GeneveilError as error:
                text = error.render()
            (folder / file).write_text(text)

    await asyncio.gather(*(look(node.name) for node in stage.nodes))
    frames.advance()
    frames.copy(top / "capture.pcap")
    return top
