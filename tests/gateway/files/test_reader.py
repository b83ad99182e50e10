"""A file is read in pieces, and one that is not what the index says is no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.files.reader import FileReader


async def at_once(read: Callable[[], bytes]) -> bytes:
    return read()


async def test_a_file_in_pieces(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3_000
    (tmp_path / "a").write_bytes(content)
    reader = FileReader(tmp_path / "a", len(content), at_once)
    reader.open()
    pieces = []
    while piece := await reader.read():
        pieces.append(piece)
    await reader.close()
    assert b"".join(pieces) == content
    assert len(pieces) > 1
    assert repr(reader).endswith("/a [768000 of 768000 bytes]>")


async def test_a_file_of_another_length_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    reader = FileReader(tmp_path / "a", 4, at_once)
    with pytest.raises(OSError, match="has 3 bytes instead of 4"):
        reader.open()
    await reader.close()


async def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(300_000))
    reader = FileReader(tmp_path / "a", 300_000, at_once)
    reader.open()
    await reader.read()
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OSError, match="too early"):
        await reader.read()
    await reader.close()


async def test_a_reader_that_was_never_opened_can_be_closed(tmp_path: Path) -> None:
    await FileReader(tmp_path / "none", 1, at_once).close()
