"""The form with which a file is uploaded: its fields may come in any order, before the file or behind it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.api.form_stream import FormStream
from gateway.core.errors import BadRequest, FileTooLarge
from gateway.files.draft import Draft
from gateway.files.index import storage_limit_exceeded
from gateway.files.lines import LineCheck
from gateway.files.purposes import check_expiry, check_purpose, line_check
from gateway.files.store import FileStore

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


class DraftWriter:
    """Writes the content of a file or a part to a draft, within its limit and the room that its owner has left.

    ``field`` is the field of the form that it comes in, ``limit`` the name of the limit.
    """

    def __init__(
        self, draft: Draft, files: FileStore, room: int | None, field: str, max_bytes: int, limit: str
    ) -> None:
        self._draft = draft
        self._most_of_owner = files.settings.max_bytes
        self._room = room
        self._field = field
        self._max_bytes = max_bytes
        self._limit = limit

    def write(self, data: bytes) -> None:
        """Write what has come. Raises ``FileTooLarge`` or ``StorageLimitExceeded`` before anything is written."""
        size = self._draft.bytes + len(data)
        if size > self._max_bytes:
            raise FileTooLarge(f"The file is over {self._max_bytes} bytes ({self._limit}).", param=self._field)
        if self._room is not None and size > self._room:
            raise storage_limit_exceeded(self._most_of_owner)
        self._draft.write(data)


class FileForm:
    """Takes the form of ``POST /v1/files`` piece by piece, and looks at the file as its purpose wants it.

    What blocks is ``feed`` and ``finish``. Raises ``UnsupportedMediaType`` if the headers announce no form.
    """

    def __init__(self, headers: Mapping[bytes, bytes], draft: Draft, writer: DraftWriter) -> None:
        self._form = FormStream(headers, "file", self._write)
        self._draft = draft
        self._writer = writer
        self._check: LineCheck | None = None
        self._looked_at = False
        self.purpose = ""
        self.keep_seconds: int | None = None

    def __repr__(self) -> str:
        return f"<FileForm {self._form!r}>"

    @property
    def filename(self) -> str:
        """The name of the file."""
        return self._form.filename or ""

    def feed(self, data: bytes) -> None:
        """Take what has come of the body. Raises ``GatewayError`` or ``OSError``."""
        self._form.feed(data)

    def finish(self) -> None:
        """Check what can only be checked at the end. Raises ``BadRequest`` or ``OSError``."""
        self._form.finish()
        fields = self._form.fields
        if "purpose" not in fields:
            raise BadRequest("The field purpose is missing; it says what the file is for.", param="purpose")
        self.purpose = check_purpose(fields["purpose"])
        self.keep_seconds = _expiry(fields)
        if not self._looked_at:
            # The purpose came behind the file, or the file is empty.
            self._check = line_check(self.purpose)
        if self._check is None:
            return
        if not self._looked_at:
            for piece in self._draft.read_back():
                self._check.feed(piece)
        self._check.finish()

    def _write(self, data: bytes) -> None:
        purpose = self._form.fields.get("purpose")
        if purpose is not None and not self._looked_at:
            self._check, self._looked_at = line_check(check_purpose(purpose)), True
        self._writer.write(data)
        if self._check is not None:
            self._check.feed(data)


def _expiry(fields: Mapping[str, str]) -> int | None:
    """Read after how many seconds the file is to be removed. Raises ``BadRequest``."""
    if _ANCHOR not in fields and _SECONDS not in fields:
        return None
    seconds = fields.get(_SECONDS, "")
    return check_expiry(fields.get(_ANCHOR), int(seconds) if seconds.isascii() and seconds.isdigit() else None)
