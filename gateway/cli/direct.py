"""Asks a gateway directly, whatever proxy the environment names: none can reach this machine's own addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import Request


def opened(request: Request, timeout: float) -> HTTPResponse:
    """Send a request and return the response's head, as ``urllib.request.urlopen`` does; raises the same errors.

    So keys and tokens are shown to the gateway alone.
    """
    from urllib.request import ProxyHandler, build_opener

    response: HTTPResponse = build_opener(ProxyHandler({})).open(request, timeout=timeout)
    return response
