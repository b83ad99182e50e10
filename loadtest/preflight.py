"""One request of each kind before the test: what is wrong with all requests is said once, not a thousand times."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from loadtest.http_client import HttpError, fetch
from loadtest.load import Load
from loadtest.record import Record
from loadtest.workload import Request


class CannotBegin(Exception):
    """The server does not answer as the test needs it; the message says why, and what to do."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def check(load: Load, requests: Sequence[Request], *, key: str | None = None) -> None:
    """Send requests one after the other, of each kind one. Raises ``CannotBegin`` for the first that fails.

    A load that is stopped meanwhile is not the server's fault: it sends nothing more.
    """
    for request in requests:
        await load.open_loop([request], [0.0])
        if load.stopped:
            return
        record = load.records[-1]
        if not record.succeeded:
            raise CannotBegin(await _reason(load.address.url, request, record, key))


async def _reason(url: str, request: Request, record: Record, key: str | None) -> str:
    said = f": {record.detail}" if record.detail else ""
    model = msgspec.json.decode(request.body, type=dict[str, object])["model"]
    match record.status:
        case 0:
            return f"{url} cannot be reached: {record.error}"
        case 401 | 403 if key is None:
            return f"{url} wants an API key (status {record.status}{said}); name its variable with --key-env NAME"
        case 401 | 403:
            return f"{url} refuses this API key (status {record.status}{said})"
        case 404:
            return f"{url} has no model {model!r} at {request.path} (status 404{said}){await _models(url, key)}"
        case 200:
            return f"{url} answers {request.path} of {model!r} with {record.error}{said}"
        case status:
            return f"{url} answers the first request, {request.path} of {model!r}, with status {status}{said}"


async def _models(url: str, key: str | None) -> str:
    """Say which models there are, if the server tells."""
    try:
        found = msgspec.json.decode(await fetch(url, "/v1/models", key=key), type=_Models)
    except (HttpError, msgspec.DecodeError):
        return ""
    return f"; it has {', '.join(model.id for model in found.data) or 'none'}"
