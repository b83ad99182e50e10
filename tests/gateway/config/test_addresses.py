"""Addresses of engines, as ``models.toml`` has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.addresses import engine_url
from gateway.config.load import load
from gateway.config.models import RemoteModel
from tests.gateway.config.mistakes import Write, mistakes


def test_a_socket_is_beside_the_file_and_below_home_like_any_path(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert engine_url("unix:run/x.sock", Path("/etc/headgate")) == "unix:/etc/headgate/run/x.sock"
    assert engine_url("unix:~/x.sock", Path("/etc")) == "unix:/home/alice/x.sock"
    assert engine_url("unix:///run/x.sock", Path("/etc")) == "unix:/run/x.sock"
    assert engine_url("unix:x.sock", None) == "unix:x.sock"
    path = write('[models.m]\nengine = "remote"\nurls = ["unix:x.sock"]\n')
    model = load(path).models["m"]
    assert isinstance(model, RemoteModel)
    assert len(str(path)) > 107 or model.urls == (f"unix:{path.parent}/x.sock",)


def test_white_space_around_an_address_is_left_out() -> None:
    assert engine_url(" http://a:1\n", None) == "http://a:1"


def test_a_socket_whose_path_no_system_would_take_is_told() -> None:
    with pytest.raises(ValueError, match="has 121 bytes; the path of a socket may have 107"):
        engine_url(f"unix:/{'a' * 120}", None)


def test_every_wrong_address_is_told_with_its_place_and_without_secrets(write: Write) -> None:
    urls = ["http://a", "http://user:secret@a", "https://a?key=secret", "http://a:99999"]
    path = write(f'[models.m]\nengine = "remote"\nurls = {urls}\n')
    lines = mistakes(path)
    assert [line.split(" ")[:3] for line in lines] == [
        ["models.toml:3:", "models.m.urls.1:", "'http://…@a'"],
        ["models.toml:3:", "models.m.urls.2:", "'https://a…'"],
        ["models.toml:3:", "models.m.urls.3:", "'http://a:99999'"],
    ]
    assert "secret" not in "".join(lines)
