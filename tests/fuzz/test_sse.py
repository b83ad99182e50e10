"""Events are the same ones however their bytes were cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.http import sse
from tests.fuzz.cases import SIZES, Choices, cases, cut

_PARTS = (
    b"data: 1",
    b"\n\n",
    b"\n",
    b"\r\n\r\n",
    b"\r\n",
    b"\n\r\n",
    b": c",
    b"event: x",
    b"data:2\ndata:3",
    b"\r",
    b"",
)


def stream(script: bytes) -> bytes:
    """Put lines and blank lines together, and end with one."""
    choose = Choices(script)
    return b"".join(choose.one(_PARTS) for _ in script) + b"\n\n"


def events(pieces: list[bytes]) -> list[bytes]:
    """Return what the data of each event is; every piece that comes out must be made of whole ones."""
    splitter, found, seen = sse.EventSplitter(), [], b""
    for piece in pieces:
        whole = splitter.feed(piece)
        assert whole == b"" or whole.endswith(b"\n\n") or not whole.strip()
        seen += whole
        found += [sse.data_of(event) for event in sse.split(whole)]
    data = b"".join(pieces).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert data.startswith(seen)
    assert data[len(seen) :].strip() == b""  # Empty lines that follow an event's end may wait for the next event.
    assert splitter.flush() == b""
    return [data for data in found if data]


@cases(0.04)
@given(st.binary(max_size=40).map(stream), SIZES)
def test_events_do_not_depend_on_how_they_were_cut(data: bytes, sizes: bytes) -> None:
    assert events(cut(data, sizes)) == events([data])
