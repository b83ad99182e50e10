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
