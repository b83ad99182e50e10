"""OpenAI's Batch API: begin a batch, show it, list and cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from gateway.api.local.json_body import decoded
from gateway.api.local.metadata import check_metadata
from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse
from gateway.api.local.uploads import ExpiresAfter
from gateway.batches.records import Batch, BatchQuery, BatchStatus, LineError, RequestCounts
from gateway.core.errors import BadRequest
from gateway.files.purposes import check_expiry

_MOST_LISTED, _LISTED = 100, 20


class NewBatch(msgspec.Struct):
    """What ``POST /v1/batches`` is told."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None


class LineErrors(msgspec.Struct):
    """What is wrong with the lines of a batch that has failed."""

    data: list[LineError]
    object: Literal["list"] = "list"


class BatchObject(msgspec.Struct):
    """A batch as OpenAI shows it; moments are seconds since 1970, and ``None`` is what has not happened."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: BatchStatus
    model: str | None
    created_at: int
    expires_at: int
    request_counts: RequestCounts
    output_file_id: str | None
    error_file_id: str | None
    errors: LineErrors | None
    metadata: Mapping[str, str] | None
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    object: Literal["batch"] = "batch"

    @classmethod
    def of(cls, batch: Batch) -> BatchObject:
        """Show a batch; its result files from the moment on when they are whole."""
        return cls(
            id=batch.id,
            endpoint=batch.endpoint,
            input_file_id=batch.input_file_id,
            completion_window=batch.completion_window,
            status=batch.status,
            model=batch.model,
            created_at=batch.created_at,
            expires_at=batch.expires_at,
            request_counts=batch.counts,
            output_file_id=batch.output_file_id if batch.ended else None,
            error_file_id=batch.error_file_id if batch.ended else None,
            errors=LineErrors(batch.errors) if batch.errors else None,
            metadata=batch.metadata,
            in_progress_at=batch.in_progress_at,
            finalizing_at=batch.finalizing_at,
            completed_at=batch.completed_at,
            failed_at=batch.failed_at,
            expired_at=batch.expired_at,
            cancelling_at=batch.cancelling_at,
            cancelled_at=batch.cancelled_at,
        )


class BatchList(msgspec.Struct):
    """A page of batches; ``has_more`` says whether there is another one behind ``last_id``."""

    data: list[BatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


async def create_batch(
    endpoints: Callable[[], Sequence[str]], info: GatewayInfo, request: LocalRequest
) -> LocalResponse:
    """Begin a batch for one of the ``endpoints`` that take and give JSON."""
    asked, key, able = decoded(request, NewBatch), request.key, endpoints()
    if asked.endpoint not in able:
        raise BadRequest(
            f"The endpoint {asked.endpoint[:100]!r} is not one for batches; those are {', '.join(able)}.",
            param="endpoint",
        )
    if key.endpoints and asked.endpoint not in key.endpoints:
        raise key.not_allowed_at(asked.endpoint)
    check_metadata(asked.metadata)
    after = asked.output_expires_after
    keep_seconds = None if after is None else check_expiry(after.anchor, after.seconds, "output_expires_after")
    batch = await info.batches.create(
        key.id, asked.input_file_id, asked.endpoint, asked.completion_window, asked.metadata, keep_seconds
    )
    return _shown(batch)


async def list_batches(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """List the key's batches, the newest first, in pages."""
    query = _query_of(request.head.target)
    # One more than asked for tells whether there is another page.
    found = await info.batches.batches(request.key.id, msgspec.structs.replace(query, limit=query.limit + 1))
    shown = [BatchObject.of(batch) for batch in found[: query.limit]]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return LocalResponse(msgspec.json.encode(BatchList(shown, len(found) > query.limit, first, last)))


async def show_batch(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Show one batch."""
    return _shown(await info.batches.batch(request.key.id, request.parameter))


async def cancel_batch(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Let a batch end with the answers that it has."""
    return _shown(await info.batches.cancel(request.key.id, request.parameter))


def _shown(batch: Batch) -> LocalResponse:
    return LocalResponse(msgspec.json.encode(BatchObject.of(batch)))


def _query_of(target: bytes) -> BatchQuery:
    """Read which batches are asked for. Raises ``BadRequest``; what is not known is passed over."""
    values = dict(parse_qsl(target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True))
    limit = values.get("limit", str(_LISTED))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= _MOST_LISTED):
        raise BadRequest(f"limit is {limit[:50]!r}; it must be a number from 1 to {_MOST_LISTED}.", param="limit")
    return BatchQuery(int(limit), values.get("after"))
