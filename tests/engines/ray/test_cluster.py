"""The token of a cluster is read when it is needed, and a file that holds none is an error that names it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engines.ray.cluster import RayCluster


def test_the_token_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    cluster = RayCluster("http://h:1", token_file=str(file))
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        assert cluster.token() == token


def test_without_a_file_there_is_no_token() -> None:
    assert RayCluster("http://h:1").token() == ""


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="/token"):
        RayCluster("http://h:1", token_file=str(tmp_path / "token")).token()


@pytest.mark.parametrize("held", [b"t\xc3\xb6ken", b"\xff\xfe", b"one\ntwo", b"one\x00"])
def test_a_file_that_holds_no_token_is_named_and_not_quoted(tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(held)
    with pytest.raises(OSError, match=r"/token: expected one line of ASCII, the token of the cluster$"):
        RayCluster("http://h:1", token_file=str(file)).token()


def test_it_is_told_to_another_process_as_it_is() -> None:
    cluster = RayCluster("http://h:1", "a", "/run/token", 2.0, (20_000, 20_001), "/opt/python")
    assert msgspec.json.decode(msgspec.json.encode(cluster), type=RayCluster) == cluster
