"""A file in Prometheus' format lists replicas, and one that is broken leaves those that there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.discovery import file as module
from gateway.discovery.file import FileSource, parse
from gateway.discovery.source import SourceError
from gateway.pools.discovered import Found

HERE = Path("/etc/headgate")


def parsed(groups: Any) -> Found:
    return parse(json.dumps(groups).encode(), HERE)


def test_the_targets_of_all_groups_are_replicas() -> None:
    groups = [
        {"targets": ["10.0.0.5:8000", "vllm-1.vllm:8000"], "labels": {"zone": "a"}},
        {"targets": ["10.0.0.5:8000", "gpu-3"], "labels": {"__scheme__": "https"}},
        {"targets": ["https://other:8443/v1", "unix:run/vllm.sock", "[::1]:80"]},
    ]
    assert parsed(groups) == Found(
        (
            "http://10.0.0.5:8000",
            "http://vllm-1.vllm:8000",
            "https://10.0.0.5:8000",
            "https://gpu-3",
            "https://other:8443/v1",
            "unix:/etc/headgate/run/vllm.sock",
            "http://[::1]:80",
        )
    )


@pytest.mark.parametrize("groups", [[], [{"targets": []}]])
def test_no_target_is_an_answer_too(groups: Any) -> None:
    assert parsed(groups) == Found((), spare=(), at_zero=True)


EXPECTED = r'; expected a list as in \[\{"targets": \["HOST:PORT"\]\}\]'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", rf"line 1, column 1: is no JSON: Input data was truncated{EXPECTED}"),
        (b'[\n {"targets": ["a:1"],\n}]', rf"line 3, column 1: is no JSON: JSON is malformed: .*{EXPECTED}"),
        (b'[{"targets": ["\xff"]}]', rf"line 1: is no JSON: .*{EXPECTED}"),
        (b'{"targets": []}', rf"Expected `array`, got `object`{EXPECTED}"),
        (b'[{"targets": ["a:1", 7]}]', rf"Expected `str`, got `int` - at `\$\[0\]\.targets\[1\]`{EXPECTED}"),
        (b'[{"target": ["a:1"]}]', rf"Object missing required field `targets` - at `\$\[0\]`{EXPECTED}"),
        (b'[{"targets": []}, {"targets": ["a", "b:x"]}]', r"\[1\]\.targets\[1\]: 'http://b:x' has no port behind"),
        (b'[{"targets": ["http://u:secret@a"]}]', r"\[0\]\.targets\[0\]: 'http://…@a' holds credentials"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=f"^{reason}"):
        parse(content, HERE)


class Listed:
    """A file of targets, and the source that looks at it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "replicas.json"
        self.source = FileSource(self.path)

    def write(self, *targets: str) -> None:
        self.path.write_text(json.dumps([{"targets": targets}]))

    def look(self) -> tuple[str, ...]:
        return self.source.look().urls


@pytest.fixture
def listed(tmp_path: Path) -> Listed:
    return Listed(tmp_path)


def test_a_change_is_seen_at_the_next_look(listed: Listed) -> None:
    listed.write("a:1")
    assert listed.look() == ("http://a:1",)
    listed.write("b:1")
    assert listed.look() == ("http://b:1",)
    assert repr(listed.source) == f"<FileSource {listed.path} [1 replicas]>"


def test_a_link_that_is_swapped_is_a_change(listed: Listed, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps([{"targets": [name]}]))
    listed.path.symlink_to("a")
    assert listed.look() == ("http://a",)
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").rename(listed.path)
    assert listed.look() == ("http://b",)


@pytest.mark.parametrize("content", [b"", b"[{", b'[{"targets": ["a:x"]}]'])
def test_what_is_broken_at_two_looks_is_an_error_and_may_be_half_written_at_one(listed: Listed, content: bytes) -> None:
    listed.write("a:1")
    listed.look()
    listed.path.write_bytes(content)
    assert listed.look() == ("http://a:1",)
    for _ in range(2):
        with pytest.raises(SourceError, match=r"JSON|no port"):
            listed.look()
    listed.write("b:1")
    assert listed.look() == ("http://b:1",)
    listed.path.write_bytes(content)
    assert listed.look() == ("http://b:1",)


def test_a_file_that_is_not_there_is_an_error_until_it_is(listed: Listed) -> None:
    with pytest.raises(SourceError, match=r"^cannot be read: No such file or directory$"):
        listed.look()
    listed.write("a:1")
    assert listed.look() == ("http://a:1",)
    listed.path.unlink()
    assert listed.look() == ("http://a:1",)
    with pytest.raises(SourceError, match="No such file"):
        listed.look()


async def test_it_is_looked_at_until_something_is_wrong(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    listed.write("a:1")
    told: list[tuple[str, ...]] = []

    def tell(found: Found) -> None:
        told.append(found.urls)
        if len(told) == 2:
            listed.path.unlink()

    with pytest.raises(SourceError):
        await listed.source.watch(tell)
    assert told == [("http://a:1",)] * 3
    assert listed.source.pause(9) == 0.0
