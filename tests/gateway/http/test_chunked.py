"""A chunk is told by its bytes: its length, its framing, and the end of its last event."""

from __future__ import annotations

import pytest

from gateway.http.chunked import start_of_events


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [*range(1, 40), 255, 256, 257, 1000])
def test_a_whole_chunk_of_whole_events_is_told_by_its_bytes(size: int) -> None:
    whole = chunk(b"d" * (size - 1) + b"\n\n")
    assert whole[start_of_events(whole) :] == b"d" * (size - 1) + b"\n\n\r\n"
    assert not start_of_events(whole[1:])
    assert not start_of_events(whole[:-1])
    assert not start_of_events(whole + whole)
    assert not start_of_events(b"0" + whole)
    assert not start_of_events(chunk(b"d" * size))
    assert not start_of_events(b"\r\n" + b"d" * (size + 1) + b"\n\n\r\n")


def test_a_long_chunk_is_left_to_the_parser() -> None:
    assert not start_of_events(chunk(b"d" * 2000 + b"\n\n"))
