"""What deploy/image/Dockerfile says of the image, as far as tests need it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[1]
DOCKERFILE = TOP / "deploy/image/Dockerfile"


@dataclass(frozen=True)
class Image:
    """The last stage: what is in it besides its base.

    Attributes:
        packages: of Debian, as asked for.
        copied: files of the source, each with its place in the image.
        from_build: folders of the first stage, which are at the same place there.
        removed: folders that are taken out.
    """

    packages: frozenset[str]
    copied: dict[Path, Path]
    from_build: frozenset[str]
    removed: frozenset[str]
    path: tuple[str, ...]
    user: str
    entrypoint: tuple[str, ...]


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and words of each, in order; comments and line ends taken out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), words.strip()) for name, _, words in found]


def read_image() -> Image:
    """The image; ValueError for an instruction that this does not know."""
    every = instructions(DOCKERFILE.read_text())
    last = max(i for i, (name, _) in enumerate(every) if name == "FROM")
    packages: set[str] = set()
    removed: set[str] = set()
    copied: dict[Path, Path] = {}
    from_build: set[str] = set()
    single: dict[str, str] = {}
    for name, words in every[last + 1 :]:
        match name:
            case "RUN":
                for command in words.split("&&"):
                    argv = shlex.split(command)
                    if "install" in argv:
                        after = argv[argv.index("install") + 1 :]
                        packages |= {word for word in after if not word.startswith("-")}
                    elif argv[:2] == ["rm", "-rf"]:
                        removed |= set(argv[2:])
            case "COPY":
                *sources, target = words.split()
                if sources[0] == "--from=build":
                    from_build.add(target)
                    assert sources[1:] == [target]
                else:
                    assert target.endswith("/"), target
                    copied |= {TOP / one: Path(target) / Path(one).name for one in sources}
            case "ENV" | "USER" | "ENTRYPOINT":
                single[name] = words
            case _:
                raise ValueError(f"{name} is not known here")
    (path,) = re.findall(r"\bPATH=(\S+)", single["ENV"])
    return Image(
        packages=frozenset(packages),
        copied=copied,
        from_build=frozenset(from_build),
        removed=frozenset(removed),
        path=tuple(path.split(":")),
        user=single["USER"],
        entrypoint=tuple(re.findall(r'"([^"]+)"', single["ENTRYPOINT"])),
    )
