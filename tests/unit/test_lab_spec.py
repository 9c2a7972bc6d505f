"""The supervisor's document, and the command lines made from it."""

from dataclasses import replace

from lab.spec import Guest, LabSpec, Wire, guest_command, parse_spec, plan_wires

WIRE = Wire("underlay", "u1", "02:00:00:00:00:01")
GUEST = Guest(
    "node1", 512, "198.51.100.1", (WIRE,), "/data/node1/shared", "/data/node1/disk", (22,)
)
SPEC = LabSpec(
    name="x",
    run_dir="/run/x",
    data_dir="/data",
    kernel="/cache/linux",
    rootfs="/cache/root",
    transport="tap",
    capture="/data/capture.pcap",
    witness_address="198.51.100.254/24",
    guests=(GUEST,),
)


def test_the_document_survives_the_way_to_the_supervisor() -> None:
    assert parse_spec(SPEC.to_json()) == SPEC


def test_cards_are_on_the_bridge_in_either_transport() -> None:
    assert "link set u1 master underlay up" in plan_wires(SPEC)
    raw = plan_wires(replace(SPEC, transport="raw"))
    assert "link add pu1 type veth peer name u1" in raw
    assert "link set pu1 master underlay up" in raw


def test_a_guest_boots_its_own_folder_and_ends_when_its_kernel_is_not_well() -> None:
    command = guest_command(SPEC, GUEST)
    assert command[0] == "/cache/linux"
    assert "oops=panic" in command
    assert "hostfs=/data/node1/shared" in command[-1]
    assert command[-1].startswith('"')
    assert command[-1].endswith('"')
