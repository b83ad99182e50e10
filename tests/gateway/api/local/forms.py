"""Forms with files in them, as clients write them."""

from __future__ import annotations

BOUNDARY = b"----a-boundary"


def form(content: bytes, field: str = "file", filename: str = "a.txt", **fields: str) -> bytes:
    """Write a form: its fields, and then a file."""
    parts = [b'form-data; name="%b"\r\n\r\n%b' % (name.encode(), value.encode()) for name, value in fields.items()]
    parts.append(b'form-data; name="%b"; filename="%b"\r\n\r\n' % (field.encode(), filename.encode()) + content)
    written = b"".join(b"--%b\r\ncontent-disposition: %b\r\n" % (BOUNDARY, part) for part in parts)
    return written + b"--%b--\r\n" % BOUNDARY


def head(length: int | None, path: str = "/v1/files", extra: bytes = b"") -> bytes:
    """Write the head of a request with a form, in chunks where it has no ``length``."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    media = b"multipart/form-data; boundary=" + BOUNDARY
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\n%b%b\r\n\r\n" % (path.encode(), media, extra, framing)


def upload(content: bytes, path: str = "/v1/files", **fields: str) -> bytes:
    """Write a whole request that uploads a file."""
    body = form(content, **fields)
    return head(len(body), path) + body
