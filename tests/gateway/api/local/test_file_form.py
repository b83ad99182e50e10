"""The form of an upload: its fields in any order, the file checked as its purpose wants it, whatever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api.local.file_form import DraftWriter, FileForm
from gateway.config.gateway import Files
from gateway.core.errors import BadRequest, FileTooLarge, InvalidFile, StorageLimitExceeded
from gateway.files.draft import Draft
from gateway.files.store import FileCounts, FileStore
from tests.gateway.api.local.forms import BOUNDARY, form

HEADERS = {b"content-type": b"multipart/form-data; boundary=" + BOUNDARY}
EXAMPLE = b'{"text":"a","label":"b"}\n'


@pytest.fixture
def draft(tmp_path: Path) -> Iterator[Draft]:
    written = Draft(tmp_path)
    yield written
    written.close()


def read(draft: Draft, body: bytes, *, room: int | None = None, most: int = 1_000_000) -> FileForm:
    writer = DraftWriter(
        draft, FileStore(Files(max_bytes=77), FileCounts()), room, "file", most, "files.max_file_bytes"
    )
    read = FileForm(HEADERS, draft, writer)
    for at in range(0, len(body), 7):
        read.feed(body[at : at + 7])
    read.finish()
    return read


def purpose_last(content: bytes, **fields: str) -> bytes:
    """Write a form whose file comes first, as curl does when it is told so."""
    beginning = form(content).removesuffix(b"--%b--\r\n" % BOUNDARY)
    return beginning + form(b"", field="ignored", **fields)


@pytest.mark.parametrize("write", [form, purpose_last])
def test_all_fields_in_either_order(draft: Draft, write: Any) -> None:
    fields = {"expires_after[seconds]": "3600", "purpose": "fine-tune", "expires_after[anchor]": "created_at"}
    got = read(draft, write(EXAMPLE, **fields))
    assert (got.filename, got.purpose, got.keep_seconds) == ("a.txt", "fine-tune", 3600)
    assert b"".join(draft.read_back()) == EXAMPLE


@pytest.mark.parametrize("write", [form, purpose_last])
def test_bad_lines_are_found_in_either_order(draft: Draft, write: Any) -> None:
    with pytest.raises(InvalidFile, match="line 2: expected"):
        read(draft, write(EXAMPLE + b"{}\n" + EXAMPLE, purpose="fine-tune"))


@pytest.mark.parametrize("write", [form, purpose_last])
def test_an_empty_file_is_one_where_its_purpose_allows_it(draft: Draft, write: Any) -> None:
    assert read(draft, write(b"", purpose="user_data")).purpose == "user_data"
    with pytest.raises(InvalidFile, match="no lines"):
        read(draft, write(b"", purpose="fine-tune"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "purpose"),
        ({"purpose": "batch_output"}, "purpose"),
        ({"purpose": "evals", "expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        ({"purpose": "evals", "expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        (
            {"purpose": "evals", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1h"},
            "expires_after[seconds]",
        ),
    ],
)
@pytest.mark.parametrize("write", [form, purpose_last])
def test_fields_that_are_missing_or_wrong(draft: Draft, fields: dict[str, str], param: str, write: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        read(draft, write(b"x", **fields))
    assert refused.value.param == param


def test_a_file_within_its_limit_to_the_byte(draft: Draft, tmp_path: Path) -> None:
    assert read(draft, form(b"x" * 100, purpose="evals"), most=100, room=100).filename == "a.txt"
    with pytest.raises(FileTooLarge, match=r"over 100 bytes \(files.max_file_bytes\)"):
        read(Draft(tmp_path), form(b"x" * 101, purpose="evals"), most=100)
    with pytest.raises(StorageLimitExceeded, match="more than 77 bytes"):
        read(Draft(tmp_path), form(b"x" * 101, purpose="evals"), room=100)
