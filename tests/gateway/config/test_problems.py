"""Problems are written one a line."""

from __future__ import annotations

from pathlib import Path

from gateway.config.problems import ConfigError, Problem


def test_a_problem_says_file_line_key_and_reason_as_far_as_there_are_any() -> None:
    file = Path("models.toml")
    problems = [Problem(file, "a.b", "is wrong", 3), Problem(file, "a", "is missing"), Problem(file, "", "is no file")]
    assert str(ConfigError(problems)).splitlines() == [
        "models.toml:3: a.b: is wrong",
        "models.toml: a: is missing",
        "models.toml: is no file",
    ]


def test_a_name_of_ten_thousand_characters_is_not_repeated_in_full() -> None:
    name = "g" * 10_000
    line = str(Problem(Path("models.toml"), f"groups.{name}", f"'{name}' is no name", 3))
    assert len(line) < 1500
    assert line.startswith("models.toml:3: groups.ggg")
    assert "…: 'ggg" in line
