"""The table of departures, and that a gateway which does not tell engines is found out."""

from __future__ import annotations

import asyncio

import pytest

from loadtest.bench.faults.departures import Departures, NotRight, State, table
from loadtest.bench.faults.raw_engine import RawEngine


def test_cells_are_written_in_milliseconds_and_what_cannot_be_is_empty() -> None:
    cells = {("/classify", State.QUEUED): 0.0012, ("/classify", State.WAITING): 0.25, ("/score", State.QUEUED): 1.0}
    head, _, *rows = table(cells).splitlines()
    assert head.startswith(
        "| endpoint | arriving* | guard asked* | queued* | held* | connecting* | first byte awaited |"
    )
    assert rows == [
        "| `/classify` |  |  | 1.2 |  |  | 250.0 |  |  |  |",
        "| `/score` |  |  | 1000.0 |  |  |  |  |  |  |",
    ]


def test_states_have_the_endpoints_whose_requests_can_be_in_them() -> None:
    assert "/v1/embeddings" in State.WAITING.endpoints
    assert "/v1/embeddings" not in State.STREAMING.endpoints
    assert "/v1/files" in State.ARRIVING.endpoints


async def test_a_gateway_that_lets_the_engine_work_on_is_found_out() -> None:
    departures = Departures(patience=0.3)

    async def forgetful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send an engine what comes, and forget about both."""
        _, towards_engine = await asyncio.open_connection("127.0.0.1", departures.engine.port)
        open_for_ever.append(towards_engine)
        towards_engine.write(await reader.read(65536))
        await reader.read()
        writer.close()

    open_for_ever: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(forgetful, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    async with RawEngine() as control, departures.engines(), departures.gateway_at(address, control.address):
        with pytest.raises(NotRight, match="/classify, first byte awaited: nothing more happened"):
            await departures.measure(State.WAITING, "/classify")
    for writer in open_for_ever:
        writer.close()
    server.close()
