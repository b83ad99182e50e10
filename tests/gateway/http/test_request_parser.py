"""What is a request and what is refused, in literal bytes over real sockets."""

from __future__ import annotations

import re
import tracemalloc
from functools import partial

import pytest

from tests.gateway.http.tiny_application import GET, Limits, Served, open_house, plain
from tests.kit.eventually import eventually
from tests.kit.wire import Wire


async def test_a_head_that_came_before_is_not_looked_at_again(house: Served, wire: Wire) -> None:
    ids = set()
    for body in (b"one", b"two", b"three", b"", b"x" * 10_000):
        await wire.request("POST", "/echo?a=b", body, {"content-type": "text/plain", "X-A": "1"})
        answer = await wire.response()
        assert (answer.status, answer.body) == (200, body or b"/echo")
        ids.add(answer.header("x-request-id"))
    assert len(ids) == 5
    assert house.application.heads == 1
    told = {(seen.head.method, seen.head.target, seen.head.headers[b"x-a"]) for seen in house.application.seen}
    assert told == {(b"POST", b"/echo?a=b", b"1")}


async def test_a_head_that_came_before_is_looked_at_again_under_other_rules(house: Served, wire: Wire) -> None:
    for snapshot in ("old", "old", "new", "new"):
        house.application.snapshot = snapshot
        await wire.request("POST", "/echo", b"hello")
        assert (await wire.response()).body == b"hello"
    assert house.application.heads == 2


@pytest.mark.parametrize("header", ["x-request-id", "traceparent"])
async def test_a_head_that_differs_each_time_is_looked_at_each_time(house: Served, wire: Wire, header: str) -> None:
    for value in ("1", "1", "2"):
        await wire.request("POST", "/echo", b"hello", {header: value})
        await wire.response()
    assert house.application.heads == 3
    assert [seen.head.headers[header.encode()] for seen in house.application.seen] == [b"1", b"1", b"2"]


async def test_a_body_that_is_too_large_is_refused_behind_a_head_that_came_before() -> None:
    async with open_house(Limits(max_body_bytes=10)) as house, await Wire.connect(house.host, house.port) as wire:
        for body in (b"hello", b"x" * 10, b"x" * 11):
            await wire.request("POST", "/echo", body)
            status = (await wire.response()).status
        assert status == 413


async def test_a_request_in_single_bytes_is_the_same_request(wire: Wire) -> None:
    for byte in b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello":
        await wire.send(bytes([byte]))
    assert (await wire.response()).body == b"hello"


async def test_a_query_is_no_part_of_the_path(house: Served, wire: Wire) -> None:
    await wire.send(b"GET http://else.where/a?b=c%20d HTTP/1.1\r\nhost: x\r\n\r\n")
    await wire.response()
    assert (house.application.seen[0].head.path, house.application.seen[0].head.target) == (b"/a", b"/a?b=c%20d")


async def test_headers_are_known_by_lower_case_names_and_joined(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n")
    await wire.response()
    assert house.application.seen[0].head.headers == {b"host": b"x", b"x-one": b"1, 2"}


async def test_a_chunked_body_is_put_together(wire: Wire) -> None:
    await wire.send(
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n1;extension=1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
    )
    assert (await wire.response()).body == b"hello world"


async def test_a_body_in_tiny_chunks_takes_little_more_memory_than_its_bytes(house: Served, wire: Wire) -> None:
    some, times = b"".join(b"2\r\n%02d\r\n" % number for number in range(100)) * 50, 60
    tracemalloc.start()
    try:
        await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        before = tracemalloc.get_traced_memory()[0]
        for sent in range(1, times + 1):
            await wire.send(some)
            await eventually(partial(lambda wanted: house.listener.counts.body_bytes == wanted, sent * 10_000))
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 3 * times * 10_000, f"{held} bytes are held for a body of {times * 10_000}"
    await wire.send(b"0\r\n\r\n")
    assert (await wire.response()).body == b"".join(b"%02d" % number for number in range(100)) * 50 * times


async def test_trailers_do_not_become_headers_of_the_next_request(house: Served, wire: Wire) -> None:
    await wire.send(
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nauthorization: Bearer stolen\r\nhost: y\r\n\r\n" + GET
    )
    assert (await wire.response()).body == b"a"
    assert (await wire.response()).body == b"/a"
    assert house.application.seen[1].head.headers == {b"host": b"x"}


async def test_empty_lines_before_a_request_are_skipped(wire: Wire) -> None:
    await wire.send(b"\r\n\r\n" + GET)
    assert (await wire.response()).body == b"/a"


async def test_a_wish_to_upgrade_is_passed_over(house: Served, wire: Wire) -> None:
    wish = b"host: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
    await wire.send(b"GET /a HTTP/1.1\r\n" + wish + b"\r\n" + GET)
    assert [(await wire.response()).body for _ in range(2)] == [b"/a", b"/a"]
    await wire.send(b"POST /echo HTTP/1.1\r\n" + wish + b"content-length: 5\r\n\r\nhello" + GET)
    assert [(await wire.response()).body for _ in range(2)] == [b"hello", b"/a"]
    await wire.send((b"GET /b HTTP/1.1\r\n" + wish + b"\r\n") * 1_000)
    assert [(await wire.response()).body for _ in range(1_000)] == [b"/b"] * 1_000
    assert len(house.application.over) == 1_004


async def test_nothing_follows_a_connect(house: Served, wire: Wire) -> None:
    await wire.send(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    assert (await wire.response()).header("connection") == "close"
    await wire.closed()
    assert len(house.application.over) == 1


async def test_white_space_around_a_value_is_not_a_part_of_it(house: Served, wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\ny: \t a  b \t \r\n\r\n")
    await wire.response()
    assert house.application.seen[0].head.headers[b"y"] == b"a  b"


async def test_a_client_that_asks_is_told_to_go_on(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.send(b"ok")
    assert (await wire.response()).body == b"ok"


async def test_a_client_that_is_refused_is_not_told_to_go_on(wire: Wire) -> None:
    await wire.send(b"POST /refused HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (404, "close")
    await wire.closed()


async def test_another_expectation_is_refused(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-length: 2\r\n\r\n")
    assert (await wire.response()).json["error"]["param"] == "expect"


async def test_http_1_0_cannot_expect_anything(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nok")
    assert plain(await wire.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            id="both lengths",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            id="both lengths, the other way round",
        ),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello", id="signed length"),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nhello", id="list of lengths"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", id="two lengths"
        ),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n", id="overflow"),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip"),
        pytest.param(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
        pytest.param(b"POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked in HTTP/1.0"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            id="bare LF after a chunk's size",
        ),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
            id="chunk size with prefix",
        ),
        pytest.param(b"GET /a HTTP/1.1\nhost: x\n\n", id="bare LF"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\ny: z\r\n\r\n", id="bare LF between headers"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\ry: z\r\n\r\n", id="bare CR"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny: a\x01b\r\n\r\n", id="control character in a value"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny: a\x00b\r\n\r\n", id="NUL in a value"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny\x01: a\r\n\r\n", id="control character in a name"),
        pytest.param(b"GET /a\x01 HTTP/1.1\r\nhost: x\r\n\r\n", id="control character in the target"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost : x\r\n\r\n", id="space before the colon"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\ny: a\r\n b\r\n\r\n", id="folded header"),
        pytest.param(b"GET /a HTTP/1.1\r\n host: x\r\n\r\n", id="space before the first header"),
        pytest.param(b"GET /a HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: x\r\nauthorization: a\r\nAuthorization: b\r\n\r\n", id="two keys"),
        pytest.param(b"GET /a HTTP/1.2\r\nhost: x\r\n\r\n", id="HTTP/1.2"),
        pytest.param(b"GET /a HTTP/2.0\r\nhost: x\r\n\r\n", id="HTTP/2.0 as a word"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET /a\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"BREW /a HTTP/1.1\r\nhost: x\r\n\r\n", id="unknown method"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
    ],
)
async def test_what_is_ambiguous_is_refused_and_the_connection_closed(
    house: Served, wire: Wire, request_bytes: bytes
) -> None:
    await wire.send(request_bytes + GET)
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (400, "close")
    assert answer.json["error"]["code"] == "malformed_http"
    assert re.fullmatch(r"req-[0-9a-f]+-1", answer.header("x-request-id") or "")
    await wire.closed()
    assert house.application.seen == []


async def test_a_head_may_be_as_long_as_the_limit_and_no_byte_longer(house: Served, wire: Wire) -> None:
    start = b"GET /a HTTP/1.1\r\nhost: x\r\ny: "
    fitting = start + b"z" * (2_000 - len(start) - 4) + b"\r\n\r\n"
    await wire.send(fitting)
    assert (await wire.response()).status == 200
    await wire.send(fitting.replace(b"z", b"zz", 1))
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["code"]) == (431, "headers_too_large")
    await wire.closed()


async def test_a_large_body_right_behind_the_head_does_not_make_the_head_larger(wire: Wire) -> None:
    body = b"x" * 100_000
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + body + GET)
    assert (await wire.response()).body == body
    assert (await wire.response()).body == b"/a"


async def test_a_head_without_end_is_refused_while_it_comes(wire: Wire) -> None:
    await wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\ny: " + b"z" * 10_000)
    assert (await wire.response()).status == 431


async def test_trailers_without_end_are_refused_while_they_come(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\ny: ")
    await wire.send(b"z" * 10_000)
    assert (await wire.response()).status == 431


@pytest.mark.parametrize("name", ["y", "y%d"])
async def test_every_header_line_counts(wire: Wire, name: str) -> None:
    lines = "".join(f"{name % number if '%' in name else name}: z\r\n" for number in range(20))
    await wire.send(f"GET /a HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode())
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["message"]) == (431, "More than 20 headers.")


async def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000001\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")
    assert house.application.seen == []


async def test_a_chunked_body_is_refused_when_it_has_become_too_large(wire: Wire) -> None:
    await wire.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(4):
        await wire.send(b"40000\r\n" + b"x" * 0x40000 + b"\r\n")
    assert (await wire.response()).status == 413


async def test_a_small_refused_body_leaves_the_connection_usable(house: Served, wire: Wire) -> None:
    await wire.send(b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello" + GET)
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (404, None)
    assert (await wire.response()).body == b"/a"
    assert house.application.over == [(b"/refused", 404), (b"/a", 200)]


@pytest.mark.parametrize("framing", [b"content-length: 100000", b"transfer-encoding: chunked"])
async def test_a_large_or_endless_refused_body_does_not(wire: Wire, framing: bytes) -> None:
    await wire.send(b"POST /locked HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n\r\n")
    answer = await wire.response()
    assert (answer.status, answer.header("connection")) == (401, "close")
    await wire.closed()


async def test_a_refused_request_leaves_the_connection_usable(wire: Wire) -> None:
    await wire.send(b"GET /full HTTP/1.1\r\nhost: x\r\n\r\n" + GET)
    answer = await wire.response()
    assert (answer.status, answer.header("retry-after-ms")) == (503, "2000")
    assert (await wire.response()).status == 200
