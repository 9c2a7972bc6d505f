"""Reads a lock file for a Python that is not the one that runs. Pure.

pip judges a requirement's condition ("; python_version < …") by the Python that it runs on, also
when it fetches for another one. The lab's host may have 3.11 and its guests have 3.13.
"""

from dataclasses import dataclass

from packaging.markers import Marker

from lab.build.errors import BuildError

GUEST_PYTHON = "3.13"
_GUEST_ENVIRONMENT = {
    "implementation_name": "cpython",
    "implementation_version": f"{GUEST_PYTHON}.0",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "platform_release": "",
    "platform_version": "",
    "python_full_version": f"{GUEST_PYTHON}.0",
    "python_version": GUEST_PYTHON,
    "sys_platform": "linux",
    "extra": "",
}


@dataclass(frozen=True)
class Pin:
    """One package of a lock file: `ovs`, its version and the hashes of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def line(self) -> str:
        """The pin as one line that pip reads."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={h}" for h in self.hashes)])


def pins_for_guests(lock: str) -> list[Pin]:
    """The pins of a lock file that a guest needs.

    Raises:
        BuildError: a requirement has no version or no hash.
    """
    pins = []
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement, *options = line.split(" --hash=")
        pin, _, condition = requirement.partition(";")
        name, equals, version = pin.strip().partition("==")
        if not equals or not options:
            raise BuildError("requirements/runtime.lock", why=f"no version or no hash: {line[:60]}")
        if not condition.strip() or Marker(condition.strip()).evaluate(_GUEST_ENVIRONMENT):
            pins.append(Pin(name, version, tuple(option.strip() for option in options)))
    return pins
