"""Who may give commands at the control port, and whom a web browser lets speak in a person's name.

Scripts on the same machine need nothing: the port was made for them. Everyone else shows the token. A browser sends
requests for any web page that is open in it, so what comes from one must bear the token and come from this port's own
page: ``Sec-Fetch-Site`` and ``Origin`` say so (OWASP, Cross-Site Request Forgery Prevention), one of which a browser
sends with whatever changes something. A page can also have its own name resolve to this address (DNS rebinding), and is
of the same origin then: it has no token to give commands with, and for what is only seen a host that is a name is
trusted with the token alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.http.address import is_ip

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""

_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers by which a proxy says that it asks for somebody else."""

TOKEN_VARIABLE = "HEADGATE_CONTROL_TOKEN"  # noqa: S105 - This is where the token is, not the token.
"""The environment variable with the token; without it one is made at each start."""

_WHERE = f"is printed at the start, or is in {TOKEN_VARIABLE}"

_SHORTEST = 16
"""Characters that a token must have."""


class Refusal(NamedTuple):
    """Why a request is refused: the HTTP status, a word for programs, and a sentence for people."""

    status: int
    code: str
    reason: str


class Asker(NamedTuple):
    """What is known of who sent a request: its method and headers, and the address of the other end."""

    method: str
    headers: Mapping[str, str]
    """Found by lower-case names."""
    peer: str

    @property
    def is_safe(self) -> bool:
        """Whether the method is one that changes nothing."""
        return self.method in _SAFE

    @property
    def token(self) -> str | None:
        """The token that it bears, right or wrong."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    @property
    def is_browser(self) -> bool:
        """Whether a browser sent it for a web page; scripts send neither of these headers."""
        return "origin" in self.headers or "sec-fetch-site" in self.headers

    @property
    def is_local(self) -> bool:
        """Whether it came from a program on this machine, and not through a proxy here."""
        return _is_loopback(self.peer) and not any(name in self.headers for name in _FORWARDED)

    @property
    def is_of_other_origin(self) -> bool:
        """Whether it came from a web page that this port has not served."""
        if self.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        origin = self.headers.get("origin")
        return origin is not None and origin.partition("://")[2] != self.headers.get("host")

    @property
    def has_safe_host(self) -> bool:
        """Whether the host that it asked is an address or ``localhost``, which no one's DNS can point elsewhere."""
        try:
            host = urlsplit(f"//{self.headers.get('host', '')}").hostname or ""
        except ValueError:
            return False
        return host == "localhost" or host.endswith(".localhost") or is_ip(host)


class Access:
    """Decides who may give commands, and who may ask with the page; ``token`` proves that it is the operator."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def __repr__(self) -> str:
        return "<Access>"

    def refuses_command(self, asker: Asker) -> Refusal | None:
        """Say why a request may not change anything; ``None``: it may."""
        if asker.is_safe:
            return None
        if refusal := self._refuses_origin_or_token(asker):
            return refusal
        if asker.token is None and (asker.is_browser or not asker.is_local):
            return Refusal(401, "token_required", f"this needs the token, which {_WHERE}")
        return None

    def refuses_page(self, asker: Asker) -> Refusal | None:
        """Say why a request may not see what the page shows, nor ask models through it; ``None``: it may."""
        if refusal := self._refuses_origin_or_token(asker):
            return refusal
        if asker.token is None and not asker.has_safe_host:
            host = asker.headers.get("host", "")
            return Refusal(403, "unknown_host", f"the host {host!r} is a name, which needs the token, which {_WHERE}")
        return None

    def _refuses_origin_or_token(self, asker: Asker) -> Refusal | None:
        if asker.is_of_other_origin:
            return Refusal(403, "other_origin", "this came from a web page of another origin")
        if asker.token is not None and not self._is_right(asker.token):
            return Refusal(401, "wrong_token", "this is not the token of this gateway")
        return None

    def _is_right(self, token: str) -> bool:
        # Bytes that are no UTF-8 stand in a header as lone surrogates.
        return secrets.compare_digest(token.encode(errors="surrogateescape"), self._token)


def token_of(environment: Mapping[str, str]) -> str | None:
    """Read the token from the environment; ``None``: there is none. Raises ``ValueError`` for one that is too short."""
    token = environment.get(TOKEN_VARIABLE, "").strip()
    if token and (len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token):
        raise ValueError(f"{TOKEN_VARIABLE} must be {_SHORTEST} or more visible ASCII characters.")
    return token or None


def new_token() -> str:
    """Make a token that nobody can guess: 192 bits, which are 32 characters."""
    return secrets.token_urlsafe(24)


def _is_loopback(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
