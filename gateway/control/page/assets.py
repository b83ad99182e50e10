"""The page's own files: plain modules, a stylesheet and a drawing library, all served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from aiohttp import web

_MEDIA = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""The types of files that are served; others, such as a licence, are not."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content Security Policy (level 3): only files of this port run, and nothing is fetched or framed from elsewhere."""

HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""What every response of the page has."""


class Assets:
    """All files of the page; a browser asks for them again each time, and is told 304 while they are the same."""

    def __init__(self) -> None:
        folder = files("gateway.control.page") / "static"
        self._files = {
            file.name: (file.read_bytes(), media)
            for file in folder.iterdir()
            if (media := _MEDIA.get(f".{file.name.rpartition('.')[2]}"))
        }
        self._tags = {name: hashlib.sha256(data).hexdigest()[:16] for name, (data, _) in self._files.items()}

    def __repr__(self) -> str:
        return f"<Assets {sorted(self._files)}>"

    def response(self, name: str, request: web.Request) -> web.Response:
        """Give a file. Raises ``web.HTTPNotFound``."""
        if name not in self._files:
            raise web.HTTPNotFound
        data, media = self._files[name]
        headers = {**HEADERS, "cache-control": "no-cache", "etag": f'"{self._tags[name]}"'}
        if any(tag.value == self._tags[name] for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=data, content_type=media, charset="utf-8", headers=headers)
