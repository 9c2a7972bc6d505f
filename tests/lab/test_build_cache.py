"""The cache holds whole artifacts or none."""

import errno
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lab.build.cache import Cache, Recipe
from lab.build.errors import BuildError, NoSpaceError, StepFailedError
from lab.build.meter import Step
from lab.build.progress import Silent
from lab.build.workbench import Stop, Workbench

Make = Callable[[Workbench], Mapping[str, str]]


def _recipe(make: Make, *, text: str = "one", needed_mib: int = 1) -> Recipe:
    return Recipe(
        kind="thing",
        title="thing",
        inputs={"text": text.encode()},
        product="file",
        needed_mib=needed_mib,
        steps=(Step("write", 1),),
        make=make,
    )


def _write(bench: Workbench) -> Mapping[str, str]:
    bench.step("write")
    (bench.folder / "file").write_text("made")
    (bench.scratch / "waste").write_text("x")
    return {"of": "nothing"}


def _obtain(cache: Cache, recipe: Recipe) -> Path:
    return cache.obtain(recipe, Silent(), Stop())


def _things(cache: Cache) -> list[str]:
    return sorted(path.name for path in (cache.root / "thing").iterdir())


def test_an_artifact_is_built_once(tmp_path: Path) -> None:
    cache, builds = Cache(tmp_path), []

    def make(bench: Workbench) -> Mapping[str, str]:
        builds.append(1)
        return _write(bench)

    recipe = _recipe(make)
    assert cache.find(recipe) is None
    first, second = _obtain(cache, recipe), _obtain(cache, recipe)
    assert first == second == cache.find(recipe)
    assert first.read_text() == "made"
    assert len(builds) == 1
    assert _things(cache) == [recipe.key]
    record = cache.record(recipe)
    assert record is not None
    assert record["facts"] == {"of": "nothing"}


def test_wanted_anew_it_is_built_again_and_replaced_only_when_complete(tmp_path: Path) -> None:
    cache, texts = Cache(tmp_path), iter(["first", "second"])

    def make(bench: Workbench) -> Mapping[str, str]:
        bench.step("write")
        (bench.folder / "file").write_text(next(texts))
        return {}

    recipe = _recipe(make)
    _obtain(cache, recipe)
    assert cache.obtain(recipe, Silent(), Stop(), anew=True).read_text() == "second"
    with pytest.raises(StopIteration):
        cache.obtain(recipe, Silent(), Stop(), anew=True)
    assert (cache.folder(recipe) / "file").read_text() == "second"
    assert _things(cache) == [recipe.key]


def test_another_input_is_another_artifact(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    one, two = _recipe(_write), _recipe(_write, text="two")
    assert _obtain(cache, one) != _obtain(cache, two)
    assert cache.remove_others([one]) == [cache.folder(two)]
    assert _things(cache) == [one.key]


def test_names_and_contents_of_inputs_do_not_run_together() -> None:
    def key(inputs: Mapping[str, bytes]) -> str:
        return Recipe("thing", "thing", inputs, "file", 1, (), _write).key

    assert key({"a": b"1", "b": b"2"}) == key({"b": b"2", "a": b"1"})
    assert len({key({"a": b"bc"}), key({"ab": b"c"}), key({"a": b"b", "c": b""}), key({})}) == 4


def test_a_failed_build_leaves_its_log_alone(tmp_path: Path) -> None:
    def make(bench: Workbench) -> Mapping[str, str]:
        bench.step("write")
        (bench.folder / "file").write_text("half")
        bench.run(["bash", "-c", "echo what went wrong >&2; exit 3"])
        return {}

    cache = Cache(tmp_path)
    with pytest.raises(StepFailedError) as raised:
        _obtain(cache, _recipe(make))
    assert _things(cache) == []
    text = raised.value.render()
    assert "building the thing: write failed: bash ended with status 3" in text
    assert "what went wrong" in text
    assert str(raised.value.log) in text
    assert "what went wrong" in raised.value.log.read_text()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    def make(bench: Workbench) -> Mapping[str, str]:
        bench.step("write")
        bench.run(["no-such-program"])
        return {}

    with pytest.raises(BuildError, match="no-such-program"):
        _obtain(Cache(tmp_path), _recipe(make))


def test_a_full_disk_is_said_before_anything_begins(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    recipe = _recipe(_write, needed_mib=10**9)
    with pytest.raises(NoSpaceError, match=r"1000000000 MiB free and has \d+ MiB"):
        _obtain(cache, recipe)
    assert _things(cache) == []
    assert list((tmp_path / "logs").iterdir()) == []


def test_the_disk_must_take_all_that_is_missing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    there = _recipe(_write)
    _obtain(cache, there)
    cache.check_space([there, _recipe(_write, text="two")])
    half = _recipe(_write, text="large", needed_mib=6 * 10**8)
    with pytest.raises(NoSpaceError, match="needs 1200000000 MiB"):
        cache.check_space([there, half, half])


@pytest.mark.parametrize("by", ["us", "a program"])
def test_a_disk_that_runs_full_meanwhile_is_said_too(tmp_path: Path, by: str) -> None:
    def make(bench: Workbench) -> Mapping[str, str]:
        bench.step("write")
        if by == "us":
            raise OSError(errno.ENOSPC, "No space left on device")
        bench.run(["dd", "if=/dev/zero", "of=/dev/full", "bs=1", "count=1"])
        return {}

    cache = Cache(tmp_path)
    with pytest.raises(NoSpaceError, match="the disk ran full while building the thing"):
        _obtain(cache, _recipe(make))
    assert _things(cache) == []


def test_a_second_builder_waits_for_the_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    begun, go_on, told = threading.Event(), threading.Event(), threading.Event()
    builds = []

    class Told(Silent):
        def say(self, text: str) -> None:
            assert "another process is building the thing" in text
            told.set()

    def make(bench: Workbench) -> Mapping[str, str]:
        builds.append(1)
        begun.set()
        assert go_on.wait(120)
        return _write(bench)

    recipe = _recipe(make)
    first = threading.Thread(target=_obtain, args=(cache, recipe))
    second = threading.Thread(target=cache.obtain, args=(recipe, Told(), Stop()))
    first.start()
    assert begun.wait(120)
    second.start()
    assert told.wait(120)
    go_on.set()
    first.join(120)
    second.join(120)
    assert len(builds) == 1
    assert cache.find(recipe)


def test_a_cache_that_can_not_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BuildError, match="GENEVEIL_CACHE"):
        _obtain(Cache(tmp_path / "file"), _recipe(_write))


def test_only_a_cache_is_removed_as_a_whole(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    with pytest.raises(BuildError, match="it is not a cache of ours"):
        Cache(precious).remove_all()
    assert precious.is_dir()
    cache = Cache(tmp_path / "cache")
    assert cache.remove_all() == []
    _obtain(cache, _recipe(_write))
    assert cache.remove_all() == [cache.root]
    assert not cache.root.exists()


def test_folders_that_forbid_writing_are_removed_too(tmp_path: Path) -> None:
    def make(bench: Workbench) -> Mapping[str, str]:
        (bench.scratch / "closed").mkdir()
        (bench.scratch / "closed/file").touch()
        (bench.scratch / "closed").chmod(0o500)
        return _write(bench)

    cache = Cache(tmp_path)
    recipe = _recipe(make)
    _obtain(cache, recipe)
    assert _things(cache) == [recipe.key]


def test_a_cache_of_somebody_else_is_named_without_a_traceback(tmp_path: Path) -> None:
    cache, recipe = Cache(tmp_path), _recipe(_write)
    # A folder where a file should be: refused to root too.
    (tmp_path / "locks" / f"thing-{recipe.key}.lock").mkdir(parents=True)
    with pytest.raises(BuildError, match="can't use the cache folder"):
        _obtain(cache, recipe)


@pytest.mark.parametrize("name", ["with space", "with:colon", 'with"quote'])
def test_a_name_that_no_kernel_can_be_built_below_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError, match="spaces, colons or quotes"):
        _obtain(Cache(tmp_path / name), _recipe(_write))
    assert not (tmp_path / name).exists()
