"""Where a server listens: a Unix socket, or a host and port with or without TLS, and below which path it is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
"""A host's name, or its IPv4 address; names in other alphabets are written in Punycode."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica listens: a Unix socket, or a host and port with or without TLS.

    All it is asked for is below ``prefix``. ``replaces_v1`` says that its base path stands in the place of ``/v1``: it
    ends otherwise, as that of a server whose API has a version of its own does.
    """

    url: str
    host: str
    port: int
    path: str | None
    tls: bool
    prefix: bytes
    host_header: bytes
    replaces_v1: bool = False

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``http://host:port/base``, ``https://…`` or ``unix:/path/to.sock``.

        Raises ``ValueError`` for anything that cannot be meant so; its text never holds what may be a secret.
        """
        if url.startswith("unix:"):
            return cls._of_socket(url)
        shown = _shown(url)
        parts = _split(url, shown)
        tls = parts.scheme == "https"
        default_port = 443 if tls else 80
        port = _port(parts, shown) or default_port
        name = _host(parts, shown)
        host = f"[{name}]" if ":" in name else name
        base = parts.path.rstrip("/")
        return cls(
            url,
            name,
            port,
            None,
            tls=tls,
            prefix=base.removesuffix("/v1").encode("ascii"),
            host_header=(host if port == default_port else f"{host}:{port}").encode("ascii"),
            replaces_v1=bool(base) and not base.endswith("/v1"),
        )

    @classmethod
    def _of_socket(cls, url: str) -> Address:
        path = url.removeprefix("unix:").removeprefix("//")
        if not path or not path.isprintable():
            raise ValueError(f"{url!r} names no socket; expected unix:/path/to.sock")
        return cls(url, "localhost", 0, path, tls=False, prefix=b"", host_header=b"localhost")

    def target(self, path: bytes) -> bytes:
        """Return what the server is asked for: ``path``, as OpenAI's API has it, below the base path.

        ``/v1/models`` is ``/models`` below a base path that does not end in ``/v1``; paths without a version
        (``/health``, ``/classify``) are below it as they are.
        """
        return self.prefix + (path.removeprefix(b"/v1") if self.replaces_v1 and path.startswith(b"/v1/") else path)


def _split(url: str, shown: str) -> SplitResult:
    """Take a URL apart that has nothing but a scheme, a host, a port and a path."""
    expected = "expected http://HOST:PORT, https://HOST or unix:/PATH"
    if not re.fullmatch(r"[!-~]*", url):
        raise ValueError(f"{shown!r} has spaces or other characters than visible ASCII; {expected}, a name in Punycode")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"{shown!r} is not an address; {expected}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{shown!r} is not an address; {expected}")
    if "@" in parts.netloc:
        raise ValueError(
            f"{shown!r} holds credentials; give an address without them, and the name of an environment variable "
            "that holds the key in api_key_env"
        )
    for mark, name in (("?", "query"), ("#", "fragment")):
        if mark in url:
            raise ValueError(f"{shown!r} has a {name}; expected an address that ends with its path")
    return parts


def _host(parts: SplitResult, shown: str) -> str:
    name = parts.hostname or ""
    if parts.netloc.startswith("["):
        # Not every release of Python refuses what stands between the bracket and the port.
        behind = parts.netloc.rpartition("]")[2]
        if behind and not behind.startswith(":"):
            raise ValueError(f"{shown!r} has {behind!r} behind its bracket; expected a colon and a port")
        try:
            return str(IPv6Address(name))
        except ValueError:
            raise ValueError(f"{shown!r} has no IPv6 address between its brackets") from None
    if not _NAME.fullmatch(name):
        raise ValueError(f"{shown!r} names no host; expected http://HOST:PORT, https://HOST or unix:/PATH")
    return name


def is_ip(host: str) -> bool:
    """Whether a host is written as an IP address, and no name has to be looked up for it."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _port(parts: SplitResult, shown: str) -> int | None:
    """Return the port, ``None`` where none is given."""
    _, colon, digits = parts.netloc.rpartition("]")[2].partition(":")
    if not colon:
        return None
    if not digits.isdecimal() or not 1 <= int(digits) <= 65_535:
        raise ValueError(f"{shown!r} has no port behind its colon; expected a number from 1 to 65535")
    return int(digits)


def _shown(url: str) -> str:
    """Write a URL without what may be a secret: what stands before an ``@``, and behind a ``?`` or ``#``."""
    scheme = match[0] if (match := re.match(r"https?://", url)) else ""
    rest, *behind = re.split(r"[?#]", url.removeprefix(scheme), maxsplit=1)
    if "@" in rest and not behind:
        return f"{scheme}…@{rest.rpartition('@')[2]}"
    return f"{scheme}…" if "@" in url else f"{scheme}{rest}{'…' if behind else ''}"
