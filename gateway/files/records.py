"""What is known of a file, of an upload and of its parts, as the index keeps it."""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class FileRecord(msgspec.Struct, frozen=True):
    """One file. ``owner`` is the id of the key that it belongs to; moments are whole seconds since 1970."""

    id: str
    owner: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str


class UploadRecord(msgspec.Struct, frozen=True):
    """A file that comes in parts, ``bytes`` in all. ``keep_seconds`` is for how long the file is kept, once whole."""

    id: str
    owner: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    keep_seconds: int | None
    status: UploadStatus = "pending"


class PartRecord(msgspec.Struct, frozen=True):
    """One part of an upload."""

    id: str
    upload_id: str
    bytes: int
    created_at: int


class FileQuery(msgspec.Struct, frozen=True):
    """Which files of an owner are listed: ``limit`` of them behind the file ``after``, the newest first or last."""

    limit: int = 10_000
    after: str | None = None
    purpose: str | None = None
    ascending: bool = False


def new_id(prefix: str) -> str:
    """Make the id of a file, an upload or a part: a prefix and 96 random bits, safe in paths and URLs."""
    return prefix + secrets.token_hex(12)


def plain_filename(name: str) -> str:
    """Give the name of a file without folders and control characters; it is only ever shown, and never opened."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(each for each in name if each.isprintable())[:255] or "upload"
