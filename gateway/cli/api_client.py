"""What commands ask of a gateway's API: a few requests, one after the other, and errors in its own words."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from gateway.cli.direct import opened

URL = "http://127.0.0.1:8000"
"""Where a gateway is, unless something else is said."""

KEY = "HEADGATE_API_KEY"
"""The environment variable with the API key."""

_SECONDS = 300.0


class ApiError(Exception):
    """The gateway refuses, or does not answer; the message says why. ``again`` says that to ask again may help."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class ApiClient:
    """A gateway's API at an address, with the key of the environment."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")

    def __repr__(self) -> str:
        return f"<ApiClient {self._url}>"

    def get(self, path: str) -> Any:
        """Ask for something. Raises ``ApiError``."""
        return self._ask("GET", path, None, "")

    def post(self, path: str, body: Any = None) -> Any:
        """Have something done. Raises ``ApiError``."""
        return self._ask("POST", path, json.dumps(body or {}).encode(), "application/json")

    def delete(self, path: str) -> Any:
        """Remove something. Raises ``ApiError``."""
        return self._ask("DELETE", path, None, "")

    def upload(self, file: Path, purpose: str) -> str:
        """Upload a file, and return its id. Raises ``ApiError`` or ``OSError``."""
        boundary = secrets.token_hex(16)
        name = "".join(each for each in file.name if each.isprintable() and each not in '"\\')
        head = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
            f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        )
        body = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        uploaded: str = self._ask("POST", "/v1/files", body, f"multipart/form-data; boundary={boundary}")["id"]
        return uploaded

    def _ask(self, method: str, path: str, body: bytes | None, media: str) -> Any:
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        headers = {"content-type": media} if body is not None else {}
        if key := os.environ.get(KEY):
            headers["authorization"] = f"Bearer {key}"
        try:
            request = Request(f"{self._url}{path}", body, headers, method=method)  # noqa: S310
            with opened(request, _SECONDS) as response:
                return json.load(response)
        except HTTPError as error:
            said = error.read().decode(errors="replace")
            try:
                reason = str(json.loads(said)["error"]["message"])
            except (ValueError, KeyError, TypeError):
                reason = said.strip() or str(error)
            raise ApiError(reason, again=error.code == 503) from None
        except (URLError, OSError, ValueError) as error:
            reason = f"No gateway answers at {self._url} (--url): {getattr(error, 'reason', error)}."
            raise ApiError(reason, again=True) from None
