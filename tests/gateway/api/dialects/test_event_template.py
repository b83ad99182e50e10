"""An event is known again by the bytes around its text, and by nothing less."""

from __future__ import annotations

import pytest

from gateway.api.dialects.event_template import EventTemplate

FIELDS = (b'"content":"', b'"text":"')


def chunk(text: str, *, field: str = "content", index: int = 0) -> bytes:
    event = f'data: {{"choices":[{{"index":{index},"delta":{{"{field}":"{text}"}}}}]}}\n\n'.encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def learned(chunk: bytes) -> EventTemplate:
    found = EventTemplate.learn(chunk[chunk.index(b"data:") : -2], FIELDS)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["", "a", " longer than the first", "ü", "[DONE] and usage: null", "a\\n"])
@pytest.mark.parametrize("first", [" first", "", 'with \\"quotes\\" of its own', "\\\\"])
def test_the_same_event_with_another_text_is_like_it(first: str, text: str) -> None:
    again = chunk(text)
    assert learned(chunk(first)).count_matches(again, in_chunks=True) == (1, len(again))


@pytest.mark.parametrize(
    "other",
    [
        chunk("a", index=1),
        chunk("a", field="text"),
        chunk('a"},"usage":{"prompt_tokens":1},"more":{"b":"'),
        chunk('a\\"'),
        chunk("a\nid: 7\ndata: b"),
        chunk("a").replace(b"}]}", b'}],"usage":{}}'),
        chunk("a")[:-3],
        chunk("a")[1:],
        b"0" + chunk("a"),
        chunk("a" * 1024),
        b"5\r\n: a\n\n\r\n",
    ],
)
def test_every_other_difference_is_noticed(other: bytes) -> None:
    known, before = learned(chunk("first")), chunk("a") + chunk("b" * 300)
    assert known.count_matches(other, in_chunks=True) == (0, 0)
    assert known.count_matches(before + other, in_chunks=True) == (2, len(before))


def test_an_event_that_is_shorter_than_what_is_around_the_text_is_not_like_it() -> None:
    known = learned(chunk("first"))
    event = known.before + known.after[1:-2]
    assert known.count_matches(b"%x\r\n%b\r\n" % (len(event), event), in_chunks=True) == (0, 0)


@pytest.mark.parametrize(
    "unlearnable",
    [
        b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n',
        b'data: {"content":"a"}\r\n\r\n',
        b'data: {"content":"never ends\n\n',
        b": a comment\n\n",
    ],
)
def test_what_has_no_text_is_not_learned(unlearnable: bytes) -> None:
    assert EventTemplate.learn(unlearnable, FIELDS) is None
    assert EventTemplate.learn(b'data: {"content":"first"}\n\n' + unlearnable, FIELDS) is None


def test_of_several_events_the_last_is_learned() -> None:
    known = EventTemplate.learn(b'data: {"content":"a"}\n\ndata: {"x":1,"content":"b"}\n\n', FIELDS)
    assert known is not None
    assert known.before == b'data: {"x":1,"content":"'


@pytest.mark.parametrize("rest", [b"", b"data: [DONE]\n\n", b": a comment\n\n", b"d", chunk("a"), chunk("a")[4:-5]])
def test_events_without_their_chunks_are_known_too(rest: bytes) -> None:
    known = learned(chunk("first"))
    events = b"".join(chunk(text)[4:-2] for text in ("", "a", "ü"))
    assert known.count_matches(events + rest, in_chunks=False) == (3, len(events))
    assert known.count_matches(rest, in_chunks=False) == (0, 0)
