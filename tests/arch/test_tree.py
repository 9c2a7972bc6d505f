"""What the import contracts can't say about the tree: sizes, texts, who may touch the outside."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_BYTES_OF_A_FILE = 1024 * 1024

# Modules that reach outside the process, and why only the thin ones may.
BANNED = {
    "asyncio": "a decision that waits is not a function of its arguments",
    "http": "what comes over a network belongs in an adapter's io.py",
    "random": "chance comes in as an argument",
    "secrets": "chance comes in as an argument",
    "select": "waiting belongs in an adapter's io.py",
    "signal": "only a program's loop deals with the process it runs in",
    "socket": "what comes over a network belongs in an adapter's io.py",
    "sqlite3": "what is kept belongs in store.py",
    "ssl": "what comes over a network belongs in an adapter's io.py",
    "subprocess": "running programs belongs in an adapter's io.py",
    "threading": "a decision that shares state is not a function of its arguments",
    "urllib.request": "what comes over a network belongs in an adapter's io.py",
}
THIN_NAMES = {"io.py", "loop.py", "server.py", "store.py"}
THIN_FOLDERS = {"cli"}

# Spelled in halves, so that this file does not contain what it looks for. A guest's root has a
# /root/.ssh like any other.
BUILD_MACHINE = re.compile("|".join(["/ro" + r"ot/(?!\.ssh\b)", "/wo" + "rk/", "/ho" + r"me/\w"]))
REGISTRIES = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "deb.debian" + ".org",
    "security.debian" + ".org",
    "archive.ubuntu" + ".com",
    "registry." + "npmjs",
    "crates" + ".io",
    "docker" + ".io",
    "qu" + "ay.io",
    "gh" + "cr.io",
]


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
        return [TOP / name for name in names if (TOP / name).is_file()]
    # An unpacked archive of the tree has no git: all of it counts, but what is made in it.
    made = {".venv", ".hypothesis", "out", "__pycache__", "dist"}
    found = []
    # os.walk, because other tests make and remove folders meanwhile, and it minds nothing.
    for folder, folders, files in os.walk(TOP):
        folders[:] = [
            name
            for name in folders
            if name not in made and not (name.startswith(".") and name.endswith("_cache"))
        ]
        found += [Path(folder, name) for name in files if Path(folder, name).is_file()]
    return found


def _python(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (TOP / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(TOP))


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        _name(path)
        for path in _python("src", "lab", "bench")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_no_file_is_longer_than_one_idea() -> None:
    lengths = {
        _name(path): len(path.read_text().splitlines()) for path in _python("src", "lab", "bench")
    }
    assert {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = []
    for path in _python("src", "lab", "bench"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long.append(f"{_name(path)}:{node.lineno} {node.name} has {lines} lines")
    assert not long


def test_only_thin_modules_reach_outside_the_process() -> None:
    reaching = []
    for path in _python("src/geneveil"):
        if path.name in THIN_NAMES or THIN_FOLDERS & set(path.relative_to(TOP).parts):
            continue
        for module, line in _imports(ast.parse(path.read_text())):
            for banned, reason in BANNED.items():
                if module == banned or module.startswith(f"{banned}."):
                    reaching.append(f"{_name(path)}:{line} imports {module}: {reason}")
    assert not reaching


@pytest.mark.parametrize("lock", ["build", "runtime", "dev"])
def test_locks_pin_by_hash_and_name_no_host(lock: str) -> None:
    text = (TOP / f"requirements/{lock}.lock").read_text()
    assert "://" not in text
    requirements = [
        line for line in text.replace("\\\n", " ").splitlines() if line and line[0] != "#"
    ]
    assert requirements
    loose = [r for r in requirements if "==" not in r or "--hash=sha256:" not in r]
    assert not loose


def test_no_tracked_file_names_a_registry_or_a_build_machine() -> None:
    naming = []
    for path in _tracked():
        text = path.read_bytes().decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if BUILD_MACHINE.search(line) or any(host in line for host in REGISTRIES):
                naming.append(f"{_name(path)}:{number}")
    assert not naming


def test_no_tracked_file_is_large() -> None:
    large = [_name(path) for path in _tracked() if path.stat().st_size >= MOST_BYTES_OF_A_FILE]
    assert not large
