"""What a client is told when the disk does not do its part."""

from __future__ import annotations

import errno
import os
import sqlite3

from gateway.core.errors import InsufficientStorage, StorageFailed

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room: on the disk, within the user's quota, or within the largest size of a file."""


def storage_error(cause: OSError | sqlite3.Error) -> StorageFailed:
    """Give the error for a disk that is full or cannot be used; it names no path, which is the log's affair."""
    if isinstance(cause, OSError):
        full, reason = cause.errno in _FULL, os.strerror(cause.errno) if cause.errno else str(cause)
    else:
        full, reason = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL, str(cause)
    if full:
        return InsufficientStorage(f"There is no room for the file where files are kept: {reason}.")
    return StorageFailed(f"The folder for files (gateway.files.folder) cannot be used: {reason}.")
