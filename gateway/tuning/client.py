"""Asks the tuning server over its socket, from any process of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from engines.tuning.launcher import socket_in
from gateway.config.schema import Config
from gateway.core import engine_error
from gateway.core.errors import BadRequest, EngineRefusal, Unavailable
from gateway.http.address import Address
from gateway.http.connection_pool import ConnectionPool
from gateway.http.upstream import UpstreamError
from gateway.pools.health import Probe
from gateway.pools.replica import Replica
from gateway.tuning.bases import Base, bases_of, folder_of, why_not
from gateway.tuning.claim import is_anothers

_ANSWER_SECONDS = 70.0
"""Longest wait for an answer: a deletion waits until the model is served no longer."""

_CONNECT_SECONDS = 2.0


class TuningClient:
    """The tuning server of a configuration, and the ``bases`` that it can start from."""

    def __init__(self, config: Config) -> None:
        self.folder = folder_of(config)
        # A path that is too long for a socket is told by the supervisor, which cannot start the server then.
        address = Address.parse(f"unix:{socket_in(self.folder)}")
        self._server = Replica("tuning", ConnectionPool(address, connect_timeout=_CONNECT_SECONDS))
        self._config = config
        self.bases: Mapping[str, Base] = {}
        self.follow(config)

    def __repr__(self) -> str:
        return f"<TuningClient of {self.folder} [{', '.join(self.bases)}]>"

    @property
    def wanted(self) -> bool:
        """Whether a tuning server is to run: there is something to tune, or there are jobs from before."""
        return bool(self.bases) or (self.folder / "jobs.sqlite3").exists()

    def follow(self, config: Config) -> None:
        """Go by another configuration from now on."""
        self._config = config
        self.bases = bases_of(config)

    def base(self, name: str, may_use: Callable[[str], bool]) -> Base:
        """Find what a job of a model starts from.

        Raises ``BadRequest`` if it cannot be fine-tuned, which names those that can and that the asker may use.
        """
        base = self.bases.get(name)
        if base is None:
            others = ", ".join(filter(may_use, self.bases))
            able = f"these can: {others}" if others else "no model here can"
            raise BadRequest(
                f"The model {name[:200]!r} cannot be fine-tuned, because {why_not(self._config, name)}; {able}.",
                param="model",
                code="model_not_tunable",
            )
        return base

    async def get(self, path: str, **query: str) -> bytes:
        """Ask for something. Raises ``GatewayError``."""
        target = f"{path}?{urlencode(query)}" if query else path
        return await self._ask(target, None)

    async def post(self, path: str, body: bytes = b"{}", **query: str) -> bytes:
        """Have something done. Raises ``GatewayError``."""
        target = f"{path}?{urlencode(query)}" if query else path
        return await self._ask(target, body)

    async def _ask(self, target: str, body: bytes | None) -> bytes:
        if not self.wanted:
            raise BadRequest(
                "No model here can be fine-tuned; the table [models.NAME.tuning] lets one.",
                code="tuning_not_configured",
            )
        if is_anothers(self.folder):
            raise Unavailable(
                "Fine-tuning is not to be had here, because the tuning folder belongs to another gateway; operators "
                "give this one a folder of its own (gateway.tuning.folder).",
                code="tuning_unavailable",
            )
        probe, path = Probe(self._server), target.encode()
        try:
            asking = probe.get(path, _ANSWER_SECONDS) if body is None else probe.post(path, body, _ANSWER_SECONDS)
            answer = await asking
        except (UpstreamError, TimeoutError):
            raise Unavailable(
                "The tuning server does not answer now; it is started again by itself.",
                code="tuning_unavailable",
                retry_after=1.0,
            ) from None
        if answer.status == 200:
            return answer.body
        error = engine_error.from_response(answer.status, answer.body)
        raise EngineRefusal(answer.status, error.message, kind=error.kind, code=error.code, param=error.param)


def models_folder(tuning: Path) -> Path:
    """Return where published models are listed."""
    return tuning / "models"
