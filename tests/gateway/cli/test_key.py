"""``headgate key`` makes a key, and what a configuration needs to know of it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.gateway.cli.processes import headgate

pytestmark = pytest.mark.slow


def test_a_new_key_comes_with_its_entry(tmp_path: Path) -> None:
    told = headgate("key", "alice", cwd=tmp_path).stdout
    secret = told.splitlines()[0].rpartition(" ")[2]
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", secret)
    (entry,) = tomllib.loads(told[told.index("[[") :])["gateway"]["keys"]
    assert entry == {"id": "alice", "sha256": hashlib.sha256(secret.encode()).hexdigest()}
    assert f"\nalice {entry['sha256']}\n" in told


def test_an_id_that_no_key_may_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["key", 'a"b'])
    assert ended.value.code == 2
    assert "letters, digits" in capsys.readouterr().err
