"""OpenAI's Uploads API: a large file in parts, each of which can be sent again."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.api.form_stream import FORM_BYTES, FormStream
from gateway.api.local.file_form import DraftWriter
from gateway.api.local.files import FileObject
from gateway.api.local.json_body import decoded
from gateway.api.local.route import GatewayInfo, LocalRequest, LocalResponse
from gateway.core.context import BodyLimit
from gateway.core.errors import BadRequest, FileTooLarge
from gateway.files.purposes import check_expiry, check_purpose
from gateway.files.records import UploadRecord, UploadStatus, plain_filename
from gateway.files.uploads import Uploads

PART_BYTES = 64 * 1024 * 1024
"""Largest part of an upload, in bytes; OpenAI's limit, by which its SDK cuts files."""

_LIMIT = "the limit of a part"


class ExpiresAfter(msgspec.Struct):
    """When the file is to be removed, once it is whole."""

    anchor: str
    seconds: int


class NewUpload(msgspec.Struct):
    """What ``POST /v1/uploads`` is told. The media type is read, and not kept: a file is given back as bytes."""

    bytes: int
    filename: str
    mime_type: str
    purpose: str
    expires_after: ExpiresAfter | None = None


class UploadCompletion(msgspec.Struct):
    """What ends an upload: its parts in their order, and the MD5 of the whole as hexadecimal digits."""

    part_ids: list[str]
    md5: str | None = None


class UploadObject(msgspec.Struct):
    """An upload as OpenAI shows it."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: UploadStatus
    file: FileObject | None = None
    object: Literal["upload"] = "upload"


class PartObject(msgspec.Struct):
    """A part as OpenAI shows it."""

    id: str
    created_at: int
    upload_id: str
    object: Literal["upload.part"] = "upload.part"


def body_limit(_info: GatewayInfo) -> BodyLimit:
    """Give the limit of a form with a part in it."""
    return BodyLimit(PART_BYTES + FORM_BYTES, _LIMIT)


async def create_upload(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Begin an upload, which must be complete within an hour."""
    asked, most = decoded(request, NewUpload), info.files.settings.max_upload_bytes
    if asked.bytes < 0:
        raise BadRequest("bytes must not be negative; it is the size of the whole file.", param="bytes")
    if asked.bytes > most:
        raise FileTooLarge(f"The file is over {most} bytes (files.max_upload_bytes).", param="bytes")
    if not asked.filename:
        raise BadRequest("filename must not be empty.", param="filename")
    purpose, expiry = check_purpose(asked.purpose), asked.expires_after
    keep_seconds = None if expiry is None else check_expiry(expiry.anchor, expiry.seconds)
    name = plain_filename(asked.filename)
    upload = await Uploads(info.files).create(request.key.id, asked.bytes, name, purpose, keep_seconds)
    return _shown(upload, upload.status)


async def add_part(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Take one part, which is written to the disk while it arrives."""
    files, owner, stream = info.files, request.key.id, request.stream
    uploads = Uploads(files)
    assert stream is not None
    upload = await uploads.pending(owner, request.parameter)
    async with files.draft() as draft:
        writer = DraftWriter(draft, files, await files.room(owner), "data", PART_BYTES, _LIMIT)
        form = FormStream(request.head.headers, "data", writer.write)
        while data := await stream.read():
            await files.run(form.feed, data)
        form.finish()
        part = await uploads.keep_part(draft, upload)
    return LocalResponse(msgspec.json.encode(PartObject(part.id, part.created_at, part.upload_id)))


async def complete_upload(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Put the parts together to a file, which is checked as one that comes in one piece."""
    asked = decoded(request, UploadCompletion)
    uploads = Uploads(info.files)
    upload = await uploads.pending(request.key.id, request.parameter)
    file = await uploads.complete(upload, asked.part_ids, asked.md5)
    return _shown(upload, "completed", FileObject.of(file))


async def cancel_upload(info: GatewayInfo, request: LocalRequest) -> LocalResponse:
    """Cancel an upload, and forget its parts."""
    uploads = Uploads(info.files)
    upload = await uploads.pending(request.key.id, request.parameter)
    await uploads.cancel(upload)
    return _shown(upload, "cancelled")


def _shown(upload: UploadRecord, status: UploadStatus, file: FileObject | None = None) -> LocalResponse:
    shown = UploadObject(
        upload.id,
        upload.bytes,
        upload.created_at,
        upload.expires_at,
        upload.filename,
        upload.purpose,
        status,
        file,
    )
    return LocalResponse(msgspec.json.encode(shown))
