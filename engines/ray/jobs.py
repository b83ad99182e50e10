"""Ray's Jobs REST API, as far as replicas and trainings need it (Ray 2.x, ``/api/jobs/``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

_SECONDS = 10.0
"""How long an answer of the head may take. It asks an agent itself, and waits for it."""

_MOST_TOLD = 2000
"""Of what is said of an error so many characters are kept, the last ones: a traceback ends with what happened."""

RUNNING, PENDING = "RUNNING", "PENDING"
ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
"""The states of a job that nothing follows."""

WAITED_TOO_LONG = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
"""The type of the error where Ray gives a job up that found no room within a quarter of an hour."""


class HeadError(Exception):
    """The head cannot be asked now, and why, as one line for people."""


class Refused(Exception):
    """The head does not take a job as it is, and why."""


class Job(msgspec.Struct, frozen=True):
    """One job, as the API tells it."""

    status: str
    submission_id: str | None = None
    message: str | None = None
    error_type: str | None = None
    metadata: dict[str, str] | None = None
    driver_agent_http_address: str | None = None
    driver_exit_code: int | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ENDED

    @property
    def host(self) -> str | None:
        """The address of the node that it runs on, as a URL has it; ``None`` before it runs."""
        netloc = urlsplit(self.driver_agent_http_address or "").netloc
        return netloc.rpartition(":")[0] or None


_Answer = TypeVar("_Answer")


class Jobs:
    """The jobs of the cluster whose head is at ``url``; used within one event loop.

    ``token`` gives the token of a cluster that wants one, or nothing; it raises ``OSError`` where that cannot be read.
    """

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Jobs of {self._url}>"

    async def submit(self, job: Mapping[str, Any]) -> None:
        """Submit a job. Raises ``HeadError``, and ``Refused`` where it is wrong by itself."""
        status, body = await self._ask("POST", "", job)
        if status == 400:
            raise Refused(_last_line(body))
        _check(status, body)

    async def job(self, submission_id: str) -> Job | None:
        """Give a job; ``None`` if there is no such one. Raises ``HeadError``."""
        status, body = await self._ask("GET", submission_id)
        return None if status == 404 else _decoded(status, body, Job)

    async def all(self) -> list[Job]:
        """Give all jobs of the cluster, also those that ended. Raises ``HeadError``."""
        return _decoded(*await self._ask("GET", ""), list[Job])

    async def stop(self, submission_id: str) -> None:
        """Have a job ended: one that waits for room ends when it has found some. Raises ``HeadError``."""
        status, body = await self._ask("POST", f"{submission_id}/stop")
        if status != 404:
            _check(status, body)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS))
        data = None if body is None else msgspec.json.encode(body)
        url = f"{self._url}/api/jobs/{quote(path)}"
        try:
            token = self._token()
            headers = {"authorization": f"Bearer {token}"} if token else {}
            # The redirect of a proxy's login page would be taken for the head.
            async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                return answer.status, await answer.read()
        except TimeoutError:
            raise HeadError(f"{self._url} did not answer within {_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise HeadError(f"{self._url} cannot be asked: {error}") from None


def _check(status: int, body: bytes) -> None:
    if status in (401, 403):
        raise HeadError(f"the head answered {status}: it wants the token of the cluster, or another one")
    if status != 200:
        raise HeadError(f"the head answered {status}: {_last_line(body)}")


def _decoded(status: int, body: bytes, kind: type[_Answer]) -> _Answer:
    _check(status, body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise HeadError("what answers is not the Jobs API of Ray") from None


def _last_line(body: bytes) -> str:
    """Give what a traceback says at last."""
    lines = body.decode(errors="replace").strip().strip(".").splitlines() or ["nothing"]
    return lines[-1][-_MOST_TOLD:].strip()
