"""Where a server listens: a Unix socket, or a host and port with or without TLS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._:-]+")
"""What may stand in the header ``host``; names in other alphabets are written in Punycode."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica listens: a Unix socket, or a host and port with or without TLS, below ``prefix``."""

    url: str
    host: str
    port: int
    path: str | None
    tls: bool
    prefix: bytes
    host_header: bytes

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``http://host:port/prefix``, ``https://…`` or ``unix:/path/to.sock``. Raises ``ValueError``."""
        if url.startswith("unix:"):
            path = url.removeprefix("unix:").removeprefix("//")
            if not path:
                raise ValueError(f"{url!r} names no socket; expected unix:/path/to.sock")
            return cls(url, "localhost", 0, path, tls=False, prefix=b"", host_header=b"localhost")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _HOST.fullmatch(parts.hostname):
            raise ValueError(f"{url!r} is not an address; expected http://HOST:PORT, https://HOST or unix:/PATH")
        tls = parts.scheme == "https"
        default_port = 443 if tls else 80
        port = parts.port or default_port
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host_header = (host if port == default_port else f"{host}:{port}").encode("ascii")
        prefix = parts.path.rstrip("/").removesuffix("/v1").encode("ascii")
        return cls(url, parts.hostname, port, None, tls=tls, prefix=prefix, host_header=host_header)
