"""The page's files are all there, and are served with a policy that lets nothing else run."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hatchling.builders.wheel import WheelBuilder

from gateway.control.page.assets import POLICY, Assets

ROOT = Path(__file__).parents[4]
STATIC = ROOT / "gateway/control/page/static"

VENDORED = {
    "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""SHA-256 of the files of uPlot 1.6.32, as they are in the package of the npm registry."""

REQUEST = make_mocked_request("GET", "/")


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("index.html", "text/html"),
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_each_file_is_served_as_what_it_is(name: str, media: str) -> None:
    response = Assets().response(name, REQUEST)
    assert (response.status, response.content_type, response.body) == (200, media, (STATIC / name).read_bytes())
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["x-content-type-options"] == "nosniff"


def test_only_scripts_and_styles_of_this_port_run() -> None:
    assert "script-src 'self'" in POLICY
    assert "style-src 'self'" in POLICY
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY


def test_a_file_that_is_the_same_is_not_sent_again() -> None:
    assets = Assets()
    tag = assets.response("page.js", REQUEST).headers["etag"]
    again = assets.response("page.js", make_mocked_request("GET", "/", headers={"If-None-Match": tag}))
    assert (again.status, again.body) == (304, None)
    other = assets.response("page.css", make_mocked_request("GET", "/", headers={"If-None-Match": tag}))
    assert other.status == 200


@pytest.mark.parametrize("name", ["uplot.LICENSE.txt", "absent.js", "../assets.py", ""])
def test_nothing_else_is_served(name: str) -> None:
    with pytest.raises(web.HTTPNotFound):
        Assets().response(name, REQUEST)


@pytest.mark.parametrize(("name", "digest"), VENDORED.items())
def test_the_library_is_the_one_of_the_registry(name: str, digest: str) -> None:
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest


def test_there_is_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"\s(?:style|on[a-z]+)=", page) == []
    assert re.findall(r"<(?:script|style)[^>]*>[^<]", page) == []
    for file in STATIC.iterdir():
        if file.name not in VENDORED:
            urls = re.findall(r"https?://[^\s\"'<>`]+", file.read_text())
            assert set(urls) <= {"http://www.w3.org/2000/svg"}, file


def test_text_becomes_markup_nowhere() -> None:
    for file in STATIC.glob("*.js"):
        if file.name not in VENDORED:
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc", file.read_text()
            )


def test_all_files_are_in_the_wheel() -> None:
    packed = {each.distribution_path for each in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"gateway/control/page/static/{file.name}" for file in STATIC.iterdir()} <= packed


def test_the_library_is_in_the_record_of_licences() -> None:
    record = (ROOT / "docs/licences.md").read_text()
    assert "| uPlot 1.6.32 |" in record
    assert VENDORED["uplot.js"] in record
    assert "The MIT License (MIT)" in (STATIC / "uplot.LICENSE.txt").read_text()


def test_the_repr_names_the_files() -> None:
    assert "'page.js'" in repr(Assets())
