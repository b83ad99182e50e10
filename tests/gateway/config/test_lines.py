"""A mistake is told with the line on which it stands."""

from __future__ import annotations

import pytest

from gateway.config.lines import Lines

TEXT = """\
[gateway]
listen = "a"
limits.max_n = 3
[[gateway.keys]]
id = "a"

[[gateway.keys]]
  id = "b"
[models.m]
urls = [
  "http://a",
]
source = { package = "p" }
[models."a.b".limits]
'max_queue' = 1
[models.7]
engine = "vllm"
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("gateway", 1),
        ("gateway listen", 2),
        ("gateway limits max_n", 3),
        ("gateway keys 0 id", 5),
        ("gateway keys 1", 7),
        ("gateway keys 1 id", 8),
        ("models m urls", 10),
        ("models m urls 0", 10),
        ("models m source package", 13),
        ("models m absent", 9),
        ("models a.b limits max_queue", 15),
        ("models 7 engine", 17),
        ("models", None),
        ("absent", None),
        ("", None),
    ],
)
def test_a_place_has_the_line_where_it_is_written_or_that_of_what_it_stands_in(place: str, line: int | None) -> None:
    assert Lines(TEXT).of(place.split()) == line
