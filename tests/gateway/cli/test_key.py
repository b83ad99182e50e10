"""``headgate key`` makes a key, and what a configuration needs to know of it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.config.load import load
from tests.gateway.cli.processes import headgate

pytestmark = pytest.mark.slow


def test_a_new_key_comes_with_its_entry(tmp_path: Path) -> None:
    told = headgate("key", "alice", cwd=tmp_path).stdout
    secret = told.splitlines()[0].rpartition(" ")[2]
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", secret)
    (entry,) = tomllib.loads(told[told.index("[[") :])["gateway"]["keys"]
    assert entry == {"id": "alice", "sha256": hashlib.sha256(secret.encode()).hexdigest()}
    assert f"\nalice {entry['sha256']}\n" in told


def test_a_key_of_a_group_comes_with_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "bob", "--group", "research"]) == 0
    told = capsys.readouterr().out
    (entry,) = tomllib.loads(told[told.index("[[") :])["gateway"]["keys"]
    assert (entry["id"], entry["group"]) == ("bob", "research")
    assert f"\nbob {entry['sha256']} group=research\n" in told


def test_what_is_told_of_a_key_of_a_group_can_be_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["key", "bob", "--group", "research"])
    main(["key", "carol", "--group", "research"])
    _, bob, carol = capsys.readouterr().out.split("The key, shown only now: ")
    (tmp_path / "keys.txt").write_text(next(line for line in carol.splitlines() if line.startswith("carol ")))
    (tmp_path / "models.toml").write_text(
        f'[gateway]\nkeys_file = "keys.txt"\n[gateway.groups.research]\npriority = 1\n{bob[bob.index("[[") :]}'
        '[models.m]\nengine = "remote"\nurls = ["http://127.0.0.1:1"]\n'
    )
    keys = load(tmp_path / "models.toml").gateway.keys
    assert {key.id: key.group for key in keys} == {"bob": "research", "carol": "research"}


@pytest.mark.parametrize("arguments", [['a"b'], ["a", "--group", "b c"]])
def test_a_name_that_no_key_or_group_may_have_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["key", *arguments])
    assert ended.value.code == 2
    assert "letters, digits" in capsys.readouterr().err
