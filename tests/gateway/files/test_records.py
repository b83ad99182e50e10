"""Ids are safe wherever they are written, and never come twice."""

from __future__ import annotations

import re

from gateway.files.records import new_id, plain_filename


def test_ids_are_their_prefix_and_random_digits() -> None:
    ids = {new_id("file-") for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(re.fullmatch(r"file-[0-9a-f]{24}", each) for each in ids)


def test_a_name_has_no_folders_and_is_never_empty() -> None:
    names = ["a.txt", "../../etc/passwd", "C:\\temp\\b", "c\r\nd", "folder/", "\x00", "x" * 300]
    assert [plain_filename(name) for name in names] == ["a.txt", "passwd", "b", "cd", "upload", "upload", "x" * 255]
