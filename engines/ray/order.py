"""What a node is told of the replica that it is to run, as one environment variable of its job."""

from __future__ import annotations

import base64
import binascii
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engines.errors import ContentError
from engines.onnx.options import OnnxOptions
from engines.spec import EngineSpec, FolderSource, HubSource, Option, PackageSource, Port, TraceExport

VARIABLE = "HEADGATE_REPLICA"

USELESS = 65
"""The exit code (``EX_DATAERR``) for an order that no further try can carry out."""


class Order(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One replica: its model as in ``EngineSpec``, and the port and key at which it is to answer.

    ``version`` is that of the gateway. Of ``folder``, ``repo`` and ``package`` one is given: the model's source.
    """

    version: str
    model: str
    engine: str
    port: int = 0
    key: str = ""
    folder: str | None = None
    repo: str | None = None
    package: PackageSource | None = None
    gpus: int = 0
    args: dict[str, Option] = {}
    env: dict[str, str] = {}
    tasks: tuple[str, ...] = ()
    onnx: OnnxOptions = OnnxOptions()
    traces: TraceExport | None = None
    lora_rank: int = 0

    @classmethod
    def of(cls, spec: EngineSpec) -> Order:
        """Write down a specification, without a port and a key yet."""
        source = spec.source
        return cls(
            version=version(),
            model=spec.model,
            engine=spec.engine,
            folder=str(source.path) if isinstance(source, FolderSource) else None,
            repo=source.repo if isinstance(source, HubSource) else None,
            package=source if isinstance(source, PackageSource) else None,
            gpus=spec.gpus,
            args=dict(spec.args),
            env=dict(spec.env),
            tasks=spec.tasks,
            onnx=spec.onnx,
            traces=spec.traces,
            lora_rank=spec.lora_rank,
        )

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Order:
        """Take the order out of the environment. Raises ``ContentError``."""
        try:
            return msgspec.json.decode(base64.b64decode(environment[VARIABLE], validate=True), type=cls)
        except KeyError:
            raise ContentError(f"{VARIABLE} is not set: this is run by a gateway, as a job of a Ray cluster.") from None
        except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ContentError(
                f"{VARIABLE} is not understood by headgate {version()} on this node: {error}; "
                "install the version that the gateway has."
            ) from None

    def written(self) -> str:
        """Write it for the environment: Ray replaces ``$NAME`` in the values of variables, so it is in Base64."""
        return base64.b64encode(msgspec.json.encode(self)).decode()

    @property
    def spec(self) -> EngineSpec:
        """The specification that was written down."""
        sources = (
            self.package,
            None if self.repo is None else HubSource(self.repo),
            None if self.folder is None else FolderSource(Path(self.folder)),
        )
        return EngineSpec(
            model=self.model,
            engine=self.engine,
            source=next(source for source in sources if source is not None),
            gpus=self.gpus,
            args=self.args,
            env=self.env,
            tasks=self.tasks,
            onnx=self.onnx,
            traces=self.traces,
            lora_rank=self.lora_rank,
        )

    @property
    def listen(self) -> Port:
        """Where the engine is to answer."""
        return Port(self.port, self.key)


def version() -> str:
    """Give the version of headgate that runs here."""
    return importlib.metadata.version("headgate")
