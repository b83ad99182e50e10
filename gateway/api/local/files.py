"""OpenAI's Files API: upload, list, show, download and delete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import parse_qsl, quote

import msgspec

from gateway.api.form_stream import FORM_BYTES
from gateway.api.local.file_form import DraftWriter, FileForm
from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse, StreamedResponse
from gateway.core.context import BodyLimit
from gateway.core.errors import BadRequest
from gateway.files.records import FileQuery, FileRecord

_MOST_LISTED = 10_000


class FileObject(msgspec.Struct):
    """A file as OpenAI shows it. ``status`` is always ``processed``: what is shown has been looked at."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"
    status_details: str | None = None

    @classmethod
    def of(cls, file: FileRecord) -> FileObject:
        """Show a file."""
        return cls(file.id, file.bytes, file.created_at, file.expires_at, file.filename, file.purpose)


class FileList(msgspec.Struct):
    """A page of files; ``has_more`` says whether there is another one behind ``last_id``."""

    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class FileDeleted(msgspec.Struct):
    """What OpenAI says when a file is deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


def body_limit(info: GatewayInfo) -> BodyLimit:
    """Give the limit of a form with a file in it."""
    return BodyLimit(info.files.settings.max_file_bytes + FORM_BYTES, "files.max_file_bytes")


async def create_file(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Take a file, which is written to the disk and checked while it arrives."""
    files, owner, stream = info.files, request.key.id, request.stream
    assert stream is not None
    async with files.draft() as draft:
        room, most = await files.room(owner), files.settings.max_file_bytes
        writer = DraftWriter(draft, files, room, "file", most, "files.max_file_bytes")
        form = FileForm(request.head.headers, draft, writer)
        while data := await stream.read():
            await files.run(form.feed, data)
        await files.run(form.finish)
        file = await files.keep(draft, owner, form.filename, form.purpose, form.keep_seconds)
    return LocalResponse(msgspec.json.encode(FileObject.of(file)))


async def list_files(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """List the key's files, the newest first, in pages."""
    query = _query_of(request.head.target)
    # One more than asked for tells whether there is another page.
    found = await info.files.files(request.key.id, msgspec.structs.replace(query, limit=query.limit + 1))
    # Ten thousand files take milliseconds to write down, for which no token should wait.
    return LocalResponse(await info.files.run(_page, found, query.limit))


async def show_file(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Show one file."""
    return LocalResponse(msgspec.json.encode(FileObject.of(await info.files.file(request.key.id, request.parameter))))


async def download_file(info: GatewayInfo, request: LocalRequest) -> StreamedResponse:
    """Give the content of a file as it was uploaded, as fast as the client takes it."""
    file, reader = await info.files.content(request.key.id, request.parameter)
    headers = b"content-type: application/octet-stream\r\nx-content-type-options: nosniff\r\n"
    return StreamedResponse(reader, headers + _disposition(file.filename))


async def delete_file(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Delete a file."""
    await info.files.delete(request.key.id, request.parameter)
    return LocalResponse(msgspec.json.encode(FileDeleted(request.parameter)))


def _page(found: Sequence[FileRecord], limit: int) -> bytes:
    """Write a page of at most ``limit`` files; what was found beyond them is another page."""
    shown = [FileObject.of(file) for file in found[:limit]]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return msgspec.json.encode(FileList(shown, len(found) > limit, first, last))


def _disposition(filename: str) -> bytes:
    """Write the header that names a download: as it is, and in ASCII for clients that know no more (RFC 6266)."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", filename)
    encoded = quote(filename, safe="")
    return f"content-disposition: attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}\r\n".encode()


def _query_of(target: bytes) -> FileQuery:
    """Read which files are asked for. Raises ``BadRequest``; what is not known is passed over."""
    values = dict(parse_qsl(target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True))
    limit = values.get("limit", str(_MOST_LISTED))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= _MOST_LISTED):
        raise BadRequest(f"limit is {limit[:50]!r}; it must be a number from 1 to {_MOST_LISTED}.", param="limit")
    order = values.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest(f"order is {order[:50]!r}; it must be asc or desc.", param="order")
    return FileQuery(int(limit), values.get("after"), values.get("purpose"), ascending=order == "asc")
