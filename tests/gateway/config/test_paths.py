"""One rule for paths: ``~`` is a home directory, and what is relative begins beside the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.paths import resolved
from gateway.config.schema import Config
from tests.gateway.config.mistakes import DIGEST, REMOTE, Write, mistakes

EVERYTHING = """\
[gateway]
tls_certificate = "{0}a.pem"
tls_key = "{0}a.key"
keys_file = "{0}keys.txt"
cache = "{0}cache"
access_log = "{0}log.jsonl"
[models.m]
engine = "vllm"
source = "{0}folder"
"""


def paths_in(config: Config) -> list[str]:
    gateway = config.gateway
    model = config.models["m"]
    assert model.engine == "vllm"
    paths = (gateway.tls_certificate, gateway.tls_key, gateway.keys_file, gateway.cache, gateway.access_log)
    return [*map(str, paths), str(model.source)]


@pytest.mark.parametrize("prefix", ["./", "~/"])
def test_every_path_of_a_file_follows_the_rule_wherever_the_command_is_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "keys.txt").write_text(f"bob {DIGEST}\n")
    config = load(write(EVERYTHING.format(prefix)))
    names = ["a.pem", "a.key", "keys.txt", "cache", "log.jsonl", "folder"]
    assert paths_in(config) == [str(tmp_path / name) for name in names]
    assert [key.id for key in config.gateway.keys] == ["bob"]
    assert paths_in(Config.model_validate_json(config.model_dump_json(exclude_unset=True))) == paths_in(config)


def test_a_folder_above_the_file(write: Write, tmp_path: Path) -> None:
    model = load(write('[models.m]\nengine = "vllm"\nsource = "../folder"\n')).models["m"]
    assert model.engine == "vllm"
    assert model.source == str(tmp_path / ".." / "folder")


def test_an_absolute_path_is_kept(write: Write) -> None:
    assert load(write(f'[gateway]\ncache = "/var/cache"\n{REMOTE}')).gateway.cache == Path("/var/cache")


@pytest.mark.parametrize("word", ["stdout", "off"])
def test_words_that_are_no_paths(write: Write, word: str) -> None:
    assert load(write(f'[gateway]\naccess_log = "{word}"\n{REMOTE}')).gateway.access_log == word


@pytest.mark.parametrize("path", ["", "a\\u0000b", "~nobody-of-this-name/a"])
@pytest.mark.parametrize("option", ["cache", "keys_file", "access_log"])
def test_what_can_be_no_path(write: Write, option: str, path: str) -> None:
    (line,) = mistakes(write(f'[gateway]\n{option} = "{path}"\n{REMOTE}'))
    assert line.startswith(f"models.toml:2: gateway.{option}: ")


def test_without_a_file_a_path_is_relative_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert resolved("a/b", None) == Path("a/b")
    assert resolved("~/b", None) == Path("/home/alice/b")
    assert resolved("a/b", Path("/etc")) == Path("/etc/a/b")
