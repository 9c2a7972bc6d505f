"""The OVSDB watch against a real ovsdb-server: complete pictures or errors, nothing between."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from geneveil.model.errors import DaemonError
from geneveil.model.tunnel import Bridge, OtherTunnel, OvsSnapshot
from geneveil.ovs.io import OvsdbWatch
from tests.real.programs import DEADLINE_SECONDS, command_of, lab_root, process, run, wait_until

pytestmark = pytest.mark.real


@dataclass
class Switch:
    folder: Path
    stack: ExitStack
    server: Popen[bytes] | None = None

    @property
    def remote(self) -> str:
        return f"unix:{self.folder}/db.sock"

    def start(self) -> None:
        path = self.folder / "db.sock"
        self.server = self.stack.enter_context(
            process(
                *command_of("ovsdb-server"),
                str(self.folder / "conf.db"),
                f"--remote=punix:{path}",
                f"--unixctl={self.folder}/ctl",
                log=self.folder / "log",
            )
        )
        wait_until(lambda: answers(path), "ovsdb-server")

    def kill(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait(DEADLINE_SECONDS)
        (self.folder / "db.sock").unlink()

    def set(self, *arguments: str) -> None:
        run(*command_of("ovs-vsctl"), f"--db={self.remote}", "--no-wait", *arguments)

    def add_tunnel(self, name: str, **options: str) -> None:
        pairs = [f"options:{key}={value}" for key, value in options.items()]
        row = ["--", "set", "Interface", name, "type=geneve", *pairs]
        self.set("add-port", "br-int", name, *row)


def answers(path: Path) -> bool:
    """Whether somebody accepts at a socket: its file is there before that."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    root = lab_root() or Path("/")
    schema = root / "usr/share/openvswitch/vswitch.ovsschema"
    run(*command_of("ovsdb-tool"), "create", str(tmp_path / "conf.db"), str(schema))
    with ExitStack() as stack:
        yield Switch(tmp_path, stack)


def watch(
    switch: Switch,
) -> tuple[OvsdbWatch, Callable[[Callable[[OvsSnapshot], bool]], OvsSnapshot]]:
    woken = threading.Event()
    watcher = OvsdbWatch(switch.remote, woken.set)

    def await_picture(question: Callable[[OvsSnapshot], bool]) -> OvsSnapshot:
        def answered() -> bool:
            try:
                return question(watcher.read())
            except DaemonError:
                return False

        wait_until(answered, "a picture of the database")
        # It is told after the picture is there to be read.
        assert woken.wait(DEADLINE_SECONDS)
        return watcher.read()

    return watcher, await_picture


def test_tunnels_come_whole_and_go(switch: Switch) -> None:
    switch.start()
    switch.set("init")
    ids = ("external_ids:system-id=node1", "external_ids:ovn-encap-ip=192.0.2.1")
    switch.set("set", "Open_vSwitch", ".", *ids, "--", "add-br", "br-int")
    switch.add_tunnel("ovn-2", remote_ip="192.0.2.2", remote_name="node2", psk="hunter2")
    watcher, await_picture = watch(switch)
    with pytest.raises(DaemonError, match="no answer yet"):
        watcher.read()
    watcher.start()
    first = await_picture(lambda _: True)
    assert (first.system_id, first.encap_ips) == ("node1", ("192.0.2.1",))
    assert [t.interface for t in first.tunnels] == ["ovn-2"]  # and not br-int's own interface
    assert first.tunnels[0].has_psk
    switch.add_tunnel("ovn-3", remote_ip="192.0.2.3", dst_port="7000")
    second = await_picture(lambda picture: len(picture.tunnels) == 2)
    assert second.tunnels[1].dst_port == "7000"
    switch.set("del-port", "ovn-2")
    assert await_picture(lambda p: len(p.tunnels) == 1).tunnels[0].interface == "ovn-3"


def test_a_port_says_whom_its_tunnel_is_for(switch: Switch) -> None:
    switch.start()
    switch.set("init", "--", "add-br", "br-int")
    switch.add_tunnel("ovn-2", remote_ip="192.0.2.2")
    switch.add_tunnel("ovn-3", remote_ip="192.0.2.3")
    watcher, await_picture = watch(switch)
    watcher.start()
    assert [t.peer_name for t in await_picture(lambda p: len(p.tunnels) == 2).tunnels] == ["", ""]
    switch.set("set", "Port", "ovn-2", "external_ids:ovn-chassis-id=node2@192.0.2.2%192.0.2.1")
    named = await_picture(lambda picture: picture.tunnels[0].peer_name == "node2")
    assert [t.peer_name for t in named.tunnels] == ["node2", ""]
    switch.set("remove", "Port", "ovn-2", "external_ids", "ovn-chassis-id")
    await_picture(lambda picture: not picture.tunnels[0].peer_name)


def test_a_server_that_is_away_is_an_error_and_comes_back_whole(switch: Switch) -> None:
    switch.start()
    switch.set("init", "--", "add-br", "br-int")
    switch.add_tunnel("ovn-2", remote_ip="192.0.2.2")
    watcher, await_picture = watch(switch)
    watcher.start()
    before = await_picture(lambda picture: len(picture.tunnels) == 1)
    switch.kill()

    def is_away() -> bool:
        try:
            assert watcher.read() == before, "a picture that was never true"
        except DaemonError as error:
            return "does not answer" in error.what
        return False

    wait_until(is_away, "the error")
    switch.start()
    assert await_picture(lambda _: True) == before


def test_a_database_without_a_switch_is_no_empty_switch(switch: Switch) -> None:
    switch.start()
    watcher, _ = watch(switch)
    watcher.start()

    def says_so() -> bool:
        try:
            watcher.read()
        except DaemonError as error:
            return "not initialised" in error.why
        return False

    wait_until(says_so, "the reason")


def test_other_tunnels_datapaths_and_offload_are_seen_as_they_come(switch: Switch) -> None:
    switch.start()
    switch.set("init", "--", "add-br", "br-int")
    watcher, await_picture = watch(switch)
    watcher.start()
    before = await_picture(lambda _: True)
    assert [(bridge.name, bridge.datapath_type) for bridge in before.bridges] == [("br-int", "")]
    row = ["set", "Interface", "v7", "type=vxlan", "options:dst_port=8472"]
    switch.set("add-port", "br-int", "v7", "--", *row)
    switch.set("set", "Bridge", "br-int", "datapath_type=netdev")
    switch.set("set", "Open_vSwitch", ".", "other_config:hw-offload=true")
    after = await_picture(lambda picture: picture.hw_offload == "true")
    assert after.other_tunnels == (OtherTunnel("v7", "vxlan", "8472"),)
    assert after.bridges == (Bridge("br-int", "netdev"),)
    assert after.tunnels == ()


def test_the_longest_mtu_of_pods_follows_the_database(switch: Switch) -> None:
    switch.start()
    switch.set("init", "--", "add-br", "br-int")
    watcher, await_picture = watch(switch)
    watcher.start()
    assert await_picture(lambda _: True).longest_pod_mtu_bytes is None
    pod = ["external_ids:iface-id=ns_pod", "mtu=1400"]
    switch.set("add-port", "br-int", "veth1", "--", "set", "Interface", "veth1", *pod)
    switch.set("add-port", "br-int", "eth1", "--", "set", "Interface", "eth1", "mtu=9000")
    before = await_picture(lambda picture: picture.longest_pod_mtu_bytes == 1400)
    switch.set("set", "Interface", "veth1", "mtu=1300")
    await_picture(lambda picture: picture.longest_pod_mtu_bytes == 1300)
    switch.set("set", "Interface", "veth1", "mtu=1400")
    switch.kill()
    switch.start()  # where the column begins anew, as it is not kept on disk
    await_picture(lambda picture: picture.longest_pod_mtu_bytes is None)
    switch.set("set", "Interface", "veth1", "mtu=1400")
    assert await_picture(lambda picture: picture.longest_pod_mtu_bytes == 1400) == before
