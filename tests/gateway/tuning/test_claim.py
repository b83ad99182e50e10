"""A tuning folder belongs to one gateway, and its processes know it; another one gets it when the first has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.tuning.claim import FolderClaim, is_anothers


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[FolderClaim]:
    made = FolderClaim(tmp_path / "tuning")
    yield made
    made.release()


def test_who_comes_second_gets_a_folder_when_the_first_has_left_it(tmp_path: Path, claim: FolderClaim) -> None:
    second = FolderClaim(tmp_path / "tuning")
    assert claim.take()
    assert claim.take()
    assert not second.take()
    assert (repr(claim), repr(second)) == (
        f"<FolderClaim to {tmp_path / 'tuning'} [held]>",
        f"<FolderClaim to {tmp_path / 'tuning'} [not held]>",
    )
    claim.release()
    assert second.take()
    second.release()


def test_a_folder_that_nobody_has_is_not_anothers(tmp_path: Path) -> None:
    assert not is_anothers(tmp_path)


@pytest.mark.slow
def test_a_gateway_and_its_children_know_their_folder(tmp_path: Path, claim: FolderClaim) -> None:
    folder = tmp_path / "tuning"
    asks = f"from pathlib import Path; from gateway.tuning.claim import *; print(is_anothers(Path({str(folder)!r})))"
    assert claim.take()
    assert not is_anothers(folder)
    assert subprocess.check_output([sys.executable, "-c", asks], text=True) == "False\n"
    (folder / "gateway.lock").write_text("elsewhere 1\n")
    assert is_anothers(folder)
    assert subprocess.check_output([sys.executable, "-c", asks], text=True) == "True\n"


def test_a_folder_that_cannot_be_made_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert FolderClaim(tmp_path / "file" / "tuning").take()
