"""The page about the API: everything in the document, as text, and nothing that a browser would run or fetch."""

from __future__ import annotations

import json
import shlex
from html import unescape
from html.parser import HTMLParser
from typing import Any

from gateway.api.openapi.page import page
from tests.gateway.api.openapi.served import described


class Reader(HTMLParser):
    """Collects what a page shows and what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_endpoints_are_on_the_page_with_their_summaries() -> None:
    reader = Reader(page(described()))
    assert reader.open == []
    for path, row in described()["paths"].items():
        assert path in reader.text
        for operation in row.values():
            assert operation["summary"] in reader.text


def test_nothing_is_run_or_fetched() -> None:
    reader = Reader(page(described()))
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe"}
    assert [attributes["href"] for tag, attributes in reader.tags if tag == "a"] == ["/openapi.json"]


def test_what_must_be_there_comes_first() -> None:
    text = Reader(page(described())).text
    chat = text[text.index("Continue a conversation") : text.index("Continue a text")]
    assert chat.index("messages") < chat.index("temperature")
    assert "list of ChatMessage" in chat
    assert "integer, optional" in chat


def test_requests_can_be_pasted() -> None:
    text = unescape(page(described()))
    command = text[text.index("curl $") : text.index("</pre>")].replace("\\\n", " ")
    _, address, _, header, _, body = shlex.split(command)
    assert address.endswith("/v1/chat/completions")
    assert header == "content-type: application/json"
    assert json.loads(body)["model"] == "smollm2-135m"


def test_words_of_the_document_are_never_markup() -> None:
    hostile: dict[str, Any] = described()
    hostile["info"] = {"title": "<script>", "version": "<b>", "description": "<img src=x> `<i>`"}
    reader = Reader(page(hostile))
    assert "<script>" in reader.text
    assert "<img src=x>" in reader.text
    assert "script" not in {tag for tag, _ in reader.tags}
