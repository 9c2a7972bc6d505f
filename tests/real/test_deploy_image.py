"""What the manifests run is in the image: by its Dockerfile, and by Debian's lists of what is in a
package (from the lab's root file system, which is of the same release).

The image itself is not built here: no container engine runs where this is tested.
"""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.image import TOP, instructions, read_image
from tests.real.programs import lab_root
from tests.real.stand_in_container import pod_of

pytestmark = pytest.mark.real

PODS = {kind: pod_of(kind) for kind in ("DaemonSet", "Deployment")}
BUILTINS = {"trap", "wait", "echo", "test", "kill"}
OWN_PROGRAMS = {"nft"}
"""What our code starts in a Pod (geneveil.guard.nft.io); systemctl only where systemd runs."""


def containers() -> list[dict[str, Any]]:
    return [one for pod in PODS.values() for one in (*pod.get("initContainers", ()),
                                                     *pod["containers"])]  # fmt: skip


@cache
def packages() -> dict[str, dict[str, str]]:
    """Fields of each package of the lab's root."""
    root = lab_root()
    assert root is not None, "needs a built lab (make setup)"
    found = {}
    for text in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(re.findall(r"(?m)^([A-Z][\w-]*): (.*)$", text))
        if fields:
            found[fields["Package"]] = fields
    return found


@cache
def in_image() -> frozenset[str]:
    """Paths of all files of the image's packages: those asked for, Debian's essential ones, and
    those that they depend on."""
    wanted = [*read_image().packages, *(n for n, f in packages().items() if f.get("Essential"))]
    closure: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in closure or name not in packages():
            continue
        closure.add(name)
        for key in ("Depends", "Pre-Depends"):
            wanted += re.findall(
                r"(?:^|[,|] *)([a-z0-9][a-z0-9+.-]+)", packages()[name].get(key, "")
            )
    root = lab_root()
    assert root is not None
    assert read_image().packages <= closure
    files: set[str] = set()
    for name in closure:
        for listing in (root / "var/lib/dpkg/info").glob(f"{name}[.:]*list"):
            files |= set(listing.read_text().splitlines())
    # /bin is a link to /usr/bin
    return frozenset(re.sub(r"^/(bin|sbin|lib)/", r"/usr/\1/", one) for one in files)


def is_there(program: str) -> bool:
    """A program by its path, or by its name along the image's PATH."""
    image = read_image()
    if program == image.entrypoint[0]:
        scripts = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
        folders = {str(Path(folder).parent) for folder in image.path}
        return program in scripts and bool(folders & image.from_build)
    places = [program] if "/" in program else [f"{folder}/{program}" for folder in image.path]
    return any(re.sub(r"^/(bin|sbin)/", r"/usr/\1/", one) in in_image() for one in places)


def programs(argv: list[str]) -> set[str]:
    """What a command runs, and what the shell runs for it."""
    if argv[:2] != ["/bin/sh", "-c"]:
        return {argv[0]}
    text = re.sub(r"trap '([^']*)' TERM", r"trap; \1", argv[2]).replace('"', "")
    substituted = re.compile(r"\$\(([^)]*)\)")
    commands = [*re.split(r"[;&|]+", substituted.sub("", text)), *substituted.findall(text)]
    words = [shlex.split(one)[:1] for one in commands if one.strip()]
    found = {word for first in words for word in first if "=" not in word}
    return {"/bin/sh"} | {word for word in found if word not in BUILTINS}


def commands() -> list[list[str]]:
    image = read_image()
    found = []
    for one in containers():
        found.append([*(one.get("command") or image.entrypoint), *one.get("args", ())])
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if "exec" in one.get(probe, {}):
                found.append(one[probe]["exec"]["command"])
    return found


def test_every_program_that_a_pod_runs_is_in_the_image() -> None:
    used = {program for argv in commands() for program in programs(argv)} | OWN_PROGRAMS
    assert {"geneveil", "/bin/sh", "/usr/sbin/charon-systemd", "/usr/sbin/swanctl", "find", "cat",
            "nft"} <= used  # fmt: skip
    assert [program for program in sorted(used) if not is_there(program)] == []


@pytest.mark.parametrize("program", ["ovs-vsctl", "/usr/sbin/tcpdump", "/usr/sbin/nft-none"])
def test_a_program_that_is_in_the_lab_alone_would_be_seen(program: str) -> None:
    assert not is_there(program)


def test_what_charon_is_told_to_read_and_load_is_in_the_image() -> None:
    placed = {str(target): source for source, target in read_image().copied.items()}
    (charon,) = (one for one in containers() if one["name"] == "charon")
    (setting,) = charon["env"]
    assert setting["name"] == "STRONGSWAN_CONF"
    text = placed[setting["value"]].read_text()
    (included,) = re.findall(r"(?m)^include (\S+)$", text)
    (plugins,) = re.findall(r"(?m)^    load = (.*)$", placed[included].read_text())
    paths = [f"/usr/lib/ipsec/plugins/libstrongswan-{name}.so" for name in plugins.split()]
    assert [path for path in paths if path not in in_image()] == []


def test_the_agents_socket_of_charon_is_where_charon_makes_it() -> None:
    (socket,) = re.findall(
        r"socket = unix://(\S+)", (TOP / "deploy/image/strongswan-pod.conf").read_text()
    )
    documents = (TOP / "deploy/manifests/full.yaml").read_text()
    assert f"vici: unix://{socket}\n" in documents
    by_name = {one["name"]: one for one in containers()}
    for name in ("charon", "agent"):
        folders = {mount["mountPath"] for mount in by_name[name]["volumeMounts"]}
        assert str(Path(socket).parent) in folders


def test_what_is_written_is_on_a_volume() -> None:
    """Every root is read-only, so a folder that nobody mounts cannot be written."""
    by_name = {one["name"]: one for one in containers()}
    writable = {
        name: {m["mountPath"] for m in one["volumeMounts"] if not m.get("readOnly")}
        for name, one in by_name.items()
    }
    assert {"/var/lib/geneveil", "/run/geneveil"} <= writable["agent"] & writable["guard"]
    assert "/run" in writable["charon"]  # its pid file
    assert writable["operator"] == {"/tmp"}  # noqa: S108


def test_by_itself_the_image_may_do_nothing_and_pods_say_who_they_are() -> None:
    user, _, group = read_image().user.partition(":")
    assert int(user) > 0
    operator = PODS["Deployment"]["securityContext"]
    assert (operator["runAsUser"], operator["runAsGroup"]) == (int(user), int(group))
    assert PODS["DaemonSet"]["securityContext"]["runAsUser"] == 0


def test_every_source_of_the_image_is_there() -> None:
    text = (TOP / "deploy/image/Dockerfile").read_text()
    sources = [
        source
        for name, words in instructions(text)
        if name == "COPY" and not words.startswith("--")
        for source in words.split()[:-1]
    ]
    assert len(sources) >= 6
    assert [source for source in sources if not (TOP / source).exists()] == []
