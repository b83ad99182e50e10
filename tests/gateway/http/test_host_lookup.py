"""A host is looked up without keeping others waiting, and once for all who ask meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from gateway.http.host_lookup import HostLookup


class Silent:
    """A name server that answers when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()

    def __call__(self, _host: str, _port: int) -> list[str]:
        self.asked += 1
        assert self.answers.wait(60)
        return ["10.0.0.1", "10.0.0.2"]


async def test_the_system_is_asked() -> None:
    addresses = await HostLookup("localhost", 80).addresses()
    assert addresses
    assert set(addresses) <= {"127.0.0.1", "::1"}


async def test_hosts_whose_name_servers_are_silent_keep_no_other_waiting() -> None:
    silent = Silent()
    waiting = [asyncio.create_task(HostLookup(f"h{n}", 80, silent).addresses()) for n in range(20)]
    try:
        assert await HostLookup("localhost", 80).addresses()
        assert not any(each.done() for each in waiting)
    finally:
        silent.answers.set()
    assert await asyncio.gather(*waiting) == [["10.0.0.1", "10.0.0.2"]] * 20


async def test_all_who_ask_while_a_host_is_looked_up_get_the_one_answer() -> None:
    silent = Silent()
    lookup = HostLookup("h", 80, silent)
    first, gives_up, last = [asyncio.create_task(lookup.addresses()) for _ in range(3)]
    await asyncio.sleep(0)
    gives_up.cancel()
    silent.answers.set()
    assert await first == await last == ["10.0.0.1", "10.0.0.2"]
    assert silent.asked == 1
    assert await lookup.addresses() == ["10.0.0.1", "10.0.0.2"]
    assert silent.asked == 2
    assert repr(lookup) == "<HostLookup h>"


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), UnicodeError("no name")])
async def test_what_is_wrong_is_raised_to_all(error: Exception) -> None:
    def fails(_host: str, _port: int) -> list[str]:
        raise error

    lookup = HostLookup("h", 80, fails)
    for found in await asyncio.gather(lookup.addresses(), lookup.addresses(), return_exceptions=True):
        assert found is error
