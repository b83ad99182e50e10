"""How commands ask a running gateway for something, at its control port."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from gateway.cli.direct import opened
from gateway.control.access import TOKEN_VARIABLE

_CONTROL = "127.0.0.1:9000"

_SECONDS = 300.0
"""Longest wait for an answer: an adapter is loaded into all replicas meanwhile."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let users say where the control port is."""
    parser.add_argument(
        "--control",
        default=_CONTROL,
        metavar="HOST:PORT",
        help=f"the control port of the gateway (default: %(default)s); on another machine it wants the token of "
        f"{TOKEN_VARIABLE}",
    )


def ask(control: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask the control port; return status and JSON. What is no answer becomes status 0 and a reason."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    # The address that the gateway says at its start is a URL.
    control = control.removeprefix("http://").rstrip("/")
    data = None if body is None else json.dumps(body).encode()
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        request = Request(f"http://{control}{path}", data, headers, method=method)
        with opened(request, _SECONDS) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        said = error.read().decode(errors="replace")
        try:
            answer = json.loads(said)
        except ValueError:
            return error.code, {"reason": said.strip()}
        if "reason" not in answer:
            # The port of clients answers with errors of OpenAI's shape.
            answer = {"reason": f"What answers at {control} is no control port of a gateway (--control)."}
        return error.code, answer
    except (URLError, OSError, ValueError) as error:
        return 0, {"reason": f"No gateway answers at {control} (--control): {getattr(error, 'reason', error)}."}
