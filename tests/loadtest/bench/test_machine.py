"""What the figures were measured on is said with them."""

import os
import subprocess
from pathlib import Path

import pytest

from loadtest.bench.machine import commit_of, described


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a folder with one commit."""
    for command in (
        "init -q",
        "-c user.name=me -c user.email=me@example.com commit -q --allow-empty -m first",
    ):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    return tmp_path


def test_the_machine_is_described() -> None:
    found = described()
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    names = ("cpu", "kernel", "python", "uvloop", "httptools", "msgspec", "commit", "at")
    assert all(found[name] for name in names)


def test_the_commit_is_told_also_of_a_checkout_of_another_user(checkout: Path) -> None:
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    if os.geteuid() == 0:
        os.chown(checkout, 12345, 12345)
        os.chown(checkout / ".git", 12345, 12345)
    assert commit_of(checkout) == said.stdout[:12]


def test_where_no_commit_is_known_it_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit_of(tmp_path).startswith("unknown (fatal: not a git repository")
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) == "unknown (git is not installed)"
