"""Recommendations by the vectors of the default embedder."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.recommendation.__main__ import main
from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow


def test_what_means_the_same_is_recommended_in_other_words(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items, choices = tmp_path / "items.csv", tmp_path / "choices.csv"
    long = "how do i cook rice " * 2000
    items.write_text(
        f"id,text\na,my card was stolen\nb,somebody took my wallet\nc,will it rain\nd,{long}\ne,boil some pasta\n"
    )
    choices.write_text("person,item,day\nada,a,1\nbob,d,1\n")
    own = ["--items", str(items), "--choices", str(choices), "--cache", str(tmp_path), "--count", "1"]
    asked = [*own, "--person", "ada", "--person", "bob", "--person", "nobody"]
    assert main(["--url", f"{served.address}/v1", *asked]) == 0
    ada, bob, nobody = capsys.readouterr().out.split("\n\n")
    assert " 1. somebody took my wallet\n      Because you chose “my card was stolen”" in ada
    assert " 1. boil some pasta" in bob
    assert "nobody is not known: nothing was chosen yet." in nobody
