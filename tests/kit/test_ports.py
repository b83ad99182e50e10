"""A reserved port is for the one who is told it."""

from __future__ import annotations

import socket

import pytest

from tests.kit.ports import reserved_port


def test_who_is_told_the_port_listens_on_it_and_is_reached() -> None:
    with (
        reserved_port() as port,
        socket.create_server(("127.0.0.1", port)) as server,
        socket.create_connection(("127.0.0.1", port)) as client,
        server.accept()[0] as accepted,
    ):
        assert accepted.getpeername() == client.getsockname()


def test_it_is_taken_for_who_does_not_say_that_it_may_be_shared() -> None:
    with reserved_port() as port, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
