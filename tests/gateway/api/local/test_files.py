"""The Files API: as the official SDK uses it, and as bytes on a connection where it must not leave half states."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.api.snapshot import Snapshot
from gateway.http.body_stream import HIGH_WATER
from gateway.pools.registry import Registry
from tests.gateway.api.local.forms import form, head, upload
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway, remote
from tests.kit.playbook import Client, Clock, Playbook

NOBODY = {"m": remote("http://127.0.0.1:1")}
EXAMPLE = b'{"text":"a","label":"b"}\n'
RESPONSE = re.compile(rb"HTTP/1\.1 (\d+) [^\r]*\r\n(.*?)\r\n\r\n(.*)", re.DOTALL)


@asynccontextmanager
async def sdk(tmp_path: Path, api_key: str = "unused", **settings: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """Run a gateway, and the official SDK against it."""
    files = {"folder": str(tmp_path / "f"), **settings.pop("files", {})}
    async with gateway(NOBODY, ready=[], files=files, **settings) as running, client(running, api_key) as opened:
        yield opened


def client(running: RunningGateway, api_key: str = "unused") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key=api_key, max_retries=0)


# with the official SDK


async def test_a_file_is_uploaded_listed_read_and_deleted(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    async with sdk(tmp_path) as api:
        file = await api.files.create(
            file=("a é.bin", content), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert (file.bytes, file.filename, file.purpose) == (len(content), "a é.bin", "user_data")
        assert (file.object, file.status) == ("file", "processed")
        assert file.expires_at == file.created_at + 3600
        assert await api.files.retrieve(file.id) == file
        assert (await api.files.list()).data == [file]
        read = await api.files.content(file.id)
        assert read.content == content
        disposition = "attachment; filename=\"a _.bin\"; filename*=UTF-8''a%20%C3%A9.bin"
        assert read.response.headers["content-disposition"] == disposition
        deleted = await api.files.delete(file.id)
        assert (deleted.id, deleted.deleted, deleted.object) == (file.id, True, "file")
        for act in (api.files.retrieve, api.files.content, api.files.delete):
            with pytest.raises(openai.NotFoundError) as missing:
                await act(file.id)
            assert (missing.value.code, missing.value.param) == ("not_found", "id")


async def test_the_sdk_goes_through_all_pages(tmp_path: Path) -> None:
    async with sdk(tmp_path) as api:
        files = [await api.files.create(file=(str(n), b"x"), purpose="evals") for n in range(3)]
        files.append(await api.files.create(file=("3", b"x"), purpose="vision"))
        ids = [file.id for file in files]
        assert [file.id async for file in api.files.list(limit=2)] == ids[::-1]
        assert [file.id async for file in api.files.list(limit=1, order="asc")] == ids
        assert [file.id async for file in api.files.list(purpose="vision")] == ids[3:]
        page = await api.files.list(limit=2, after=ids[3])
        assert (page.has_more, page.model_extra) == (True, {"first_id": ids[2], "last_id": ids[1], "object": "list"})
        assert (await api.files.list(after=ids[0])).data == []


@pytest.mark.parametrize(
    ("query", "param"),
    [({"limit": 0}, "limit"), ({"limit": 10_001}, "limit"), ({"order": "up"}, "order"), ({"after": "x"}, "after")],
)
async def test_a_list_that_cannot_be_given(tmp_path: Path, query: Any, param: str) -> None:
    async with sdk(tmp_path) as api:
        with pytest.raises(openai.BadRequestError) as refused:
            await api.files.list(**query)
        assert refused.value.param == param


async def test_bad_examples_are_told_by_their_lines_and_nothing_is_kept(tmp_path: Path) -> None:
    async with sdk(tmp_path) as api:
        with pytest.raises(openai.BadRequestError) as refused:
            await api.files.create(
                file=("a.jsonl", EXAMPLE + b'{"text":1,"label":"b"}\n{"text":"a"}\n'), purpose="fine-tune"
            )
        assert (refused.value.param, refused.value.code) == ("file", "invalid_file")
        assert 'line 2: expected "text" to be a string, not 1; line 3: expected "label"' in refused.value.message
        with pytest.raises(openai.BadRequestError, match='line 1: expected "custom_id"'):
            await api.files.create(file=("a.jsonl", EXAMPLE), purpose="batch")
        assert (await api.files.list()).data == []
        assert (await api.files.create(file=("a.jsonl", EXAMPLE), purpose="fine-tune")).bytes == len(EXAMPLE)


async def test_a_file_of_results_cannot_be_uploaded(tmp_path: Path) -> None:
    async with sdk(tmp_path) as api:
        with pytest.raises(openai.BadRequestError, match="batch_output"):
            await api.files.create(file=("a", b"x"), purpose="batch_output")  # type: ignore[arg-type]


async def test_a_key_sees_its_own_files_alone(tmp_path: Path) -> None:
    keys = [{"id": name, "sha256": sha256(f"sk-{name}".encode()).hexdigest()} for name in ("alice", "bob")]
    folder = {"folder": str(tmp_path / "f")}
    async with (
        gateway(NOBODY, ready=[], files=folder, keys=keys) as running,
        client(running, "sk-alice") as alice,
        client(running, "sk-bob") as bob,
        client(running) as nobody,
    ):
        file = await alice.files.create(file=("a", b"x"), purpose="evals")
        assert (await bob.files.list()).data == []
        for act in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                await act(file.id)
        with pytest.raises(openai.BadRequestError):
            await bob.files.list(after=file.id)
        with pytest.raises(openai.AuthenticationError):
            await nobody.files.create(file=("a", b"x"), purpose="evals")
        assert [each.id async for each in alice.files.list()] == [file.id]


async def test_limits_of_a_file_and_of_all_files(tmp_path: Path) -> None:
    async with sdk(tmp_path, files={"max_file_bytes": 1_000, "max_bytes": 1_500}) as api:
        await api.files.create(file=("a", bytes(1_000)), purpose="evals")
        for size, code, name in (
            (1_001, "file_too_large", "files.max_file_bytes"),
            (100_000, "request_too_large", "files.max_file_bytes"),
            (501, "storage_limit_exceeded", "files.max_bytes"),
        ):
            with pytest.raises(openai.APIStatusError, match=name) as refused:
                await api.files.create(file=("a", bytes(size)), purpose="evals")
            assert (refused.value.status_code, refused.value.code) == (413, code)
        await api.files.create(file=("a", bytes(500)), purpose="evals")


async def test_a_restart_shows_all_files_again(tmp_path: Path) -> None:
    async with sdk(tmp_path) as api:
        file = await api.files.create(file=("a", b"abc"), purpose="evals")
    async with sdk(tmp_path) as api:
        assert (await api.files.list()).data == [file]
        assert (await api.files.content(file.id)).content == b"abc"


async def test_a_folder_that_cannot_be_used_is_a_500_that_is_not_retried(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"in the way")
    async with sdk(tmp_path) as api:
        with pytest.raises(openai.InternalServerError, match=r"gateway\.files\.folder") as failed:
            await api.files.create(file=("a", b"abc"), purpose="evals")
        assert failed.value.code == "storage_failed"
        assert failed.value.response.headers["x-should-retry"] == "false"


# on the wire


async def test_head_of_a_content_and_a_range_of_methods(tmp_path: Path) -> None:
    async with (
        gateway(NOBODY, ready=[], files={"folder": str(tmp_path / "f")}) as running,
        await running.wire() as wire,
    ):
        await wire.send(upload(b"x" * 300_000, purpose="evals"))
        file = (await wire.response()).json
        for method in ("HEAD", "GET", "HEAD"):
            await wire.request(method, f"/v1/files/{file['id']}/content")
            answer = await wire.response(to_head=method == "HEAD")
            assert (answer.status, answer.header("content-length")) == (200, "300000")
            assert answer.header("date") is not None
            assert answer.body == (b"" if method == "HEAD" else b"x" * 300_000)
        await wire.request("PUT", f"/v1/files/{file['id']}")
        assert (await wire.response()).header("allow") == "DELETE, GET, HEAD"


async def test_a_client_that_reads_slowly_is_sent_no_more_than_it_takes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100_000
    async with gateway(NOBODY, ready=[], files={"folder": str(tmp_path / "f")}) as running:
        async with await running.wire() as wire:
            await wire.send(upload(content, purpose="evals"))
            file = (await wire.response()).json["id"]
        async with await running.wire(limit=1_000) as wire:
            await wire.request("GET", f"/v1/files/{file}/content")
            await wire.head()
            # What the kernel holds between the two is far less than the file.
            sent = -1.0
            while sent < (sent := await _sent(running)):  # noqa: ASYNC110 - a metric tells nobody that it changed
                await asyncio.sleep(0.05)
            assert sent < len(content) / 2
            assert (await wire.response()).body == content


async def _sent(running: RunningGateway) -> float:
    found = re.search(r'headgate_file_bytes_total{direction="sent"} (\S+)', await running.metrics())
    assert found is not None
    return float(found[1])


# in memory: what a client sends, what it gets, and what is left on the disk


def disk(tmp_path: Path) -> list[str]:
    return sorted(f"{each.parent.name}/{each.name[:5]}" for each in (tmp_path / "f").glob("*/*"))


class Told:
    """What a client gets, response by response."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._got = b""

    async def response(self) -> tuple[int, Any, bytes]:
        """Wait for a response; return its status, its body and its head."""
        while True:
            self._got += self._client.got().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
            found = RESPONSE.match(self._got)
            length = re.search(rb"content-length: (\d+)", found[2]) if found else None
            if found and length and len(found[3]) >= int(length[1]):
                self._got = found[3][int(length[1]) :]
                return int(found[1]), json.loads(found[3][: int(length[1])]), found[2]
            await asyncio.sleep(0)


@asynccontextmanager
async def playing(tmp_path: Path, clock: Clock | None = None, **files: Any) -> AsyncIterator[tuple[Playbook, Told]]:
    play = Playbook(clock=clock, files={"folder": str(tmp_path / "f"), **files})
    try:
        async with asyncio.timeout(20):
            yield play, Told(play.client)
    finally:
        await play.pipeline.local_calls.stop()
        await play.pipeline.files.stop()


async def test_a_body_in_many_pieces_and_what_follows_it(tmp_path: Path) -> None:
    body = form(b"y" * 5_000, purpose="evals")
    async with playing(tmp_path) as (play, told):
        sent = head(len(body)) + body + b"GET /v1/files HTTP/1.1\r\nhost: x\r\n\r\n"
        for at in range(0, len(sent), 100):
            play.client.sends(sent[at : at + 100])
        status, file, first = await told.response()
        assert (status, file["bytes"]) == (200, 5_000)
        assert b"connection: close" not in first
        status, listed, _ = await told.response()
        assert [each["id"] for each in listed["data"]] == [file["id"]]


async def test_the_client_is_paused_while_the_disk_is_behind(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        body = form(bytes(3 * HIGH_WATER), purpose="evals")
        play.client.sends(head(len(body)) + body[: HIGH_WATER + 1])
        assert not play.client.transport.is_reading()
        await eventually(play.client.transport.is_reading)
        play.client.sends(body[HIGH_WATER + 1 :])
        assert (await told.response())[0] == 200
        assert disk(tmp_path) == ["files/file-"]


async def test_a_client_that_waits_is_told_to_go_on(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        body = form(b"x", purpose="evals")
        play.client.sends(head(len(body), extra=b"expect: 100-continue\r\n"))
        await eventually(lambda: b"100 Continue" in play.client.transport.written)
        play.client.sends(body)
        assert (await told.response())[0] == 200


async def test_a_client_that_waits_with_no_form_is_refused_instead(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        lines = b"host: x\r\ncontent-type: text/plain\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
        play.client.sends(b"POST /v1/files HTTP/1.1\r\n" + lines)
        status, _, first = await told.response()
        assert (status, b"connection: close" in first) == (415, True)
        assert b"100 Continue" not in play.client.transport.written


async def test_a_refused_file_is_read_to_its_end_and_the_connection_lives_on(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        body = form(b"x" * 5_000, purpose="results")
        play.client.sends(head(len(body)) + body[:-1_000])
        await eventually(lambda: disk(tmp_path) == [])
        assert play.client.got() == b""
        play.client.sends(body[-1_000:] + upload(b"x", purpose="evals"))
        status, refused, first = await told.response()
        assert (status, refused["error"]["param"], b"connection: close" in first) == (400, "purpose", False)
        assert (await told.response())[0] == 200


@pytest.mark.parametrize(
    ("length", "rest", "status"),
    [
        (None, b"2\r\nabX", 400),
        (None, b"-1\r\n", 400),
        (None, b"0\r\n\r\n", 400),
        (None, b"fffff\r\n" + bytes(200_000), 413),
    ],
    ids=["a chunk that does not end", "no chunk", "half a form", "too much"],
)
async def test_a_body_that_goes_wrong_leaves_nothing(
    tmp_path: Path, length: int | None, rest: bytes, status: int
) -> None:
    async with playing(tmp_path, max_file_bytes=10_000) as (play, told):
        half = form(b"x" * 5_000, purpose="evals")[:-100]
        play.client.sends(head(length) + b"%x\r\n%b\r\n" % (len(half), half))
        await eventually(lambda: disk(tmp_path) == ["drafts/draft"])
        play.client.sends(rest)
        assert (await told.response())[0] == status
        assert disk(tmp_path) == []
        await eventually(lambda: not play.pipeline.local_calls)


async def begun(play: Playbook, tmp_path: Path) -> bytes:
    """Send the first part of an upload, and return the rest of it."""
    body = form(b"x" * 5_000, purpose="evals")
    play.client.sends(head(len(body)) + body[:-100])
    await eventually(lambda: disk(tmp_path) == ["drafts/draft"])
    return body[-100:]


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, _):
        await begun(play, tmp_path)
        play.client.leaves()
        await eventually(lambda: disk(tmp_path) == [])
        assert not play.listener.connections
        await eventually(lambda: not play.pipeline.local_calls)


async def test_a_client_that_falls_silent_gets_a_408_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock.install(monkeypatch)
    async with playing(tmp_path, clock) as (play, told):
        rest = await begun(play, tmp_path)
        play.tick(59)
        play.client.sends(rest[:50])
        play.tick(59)
        await play.turn()
        assert play.client.got() == b""
        play.tick(2)
        status, _, first = await told.response()
        assert (status, b"connection: close" in first) == (408, True)
        assert disk(tmp_path) == []


async def test_an_upload_under_way_outlives_a_reload(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        rest = await begun(play, tmp_path)
        play.pipeline.snapshot = Snapshot.of(play.config, Registry([]), play.usage)
        play.listener.set_limits(play.config.limits, play.config.timeouts)
        play.client.sends(rest)
        assert (await told.response())[0] == 200


async def test_an_upload_under_way_may_end_while_the_gateway_drains(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        rest = await begun(play, tmp_path)
        play.dispatcher.refuse_new()
        play.listener.close_idle()
        assert len(play.pipeline.local_calls) == 1
        play.client.sends(rest)
        status, _, first = await told.response()
        assert (status, b"connection: close" in first) == (200, True)
        assert disk(tmp_path) == ["files/file-"]


async def test_an_upload_that_outlasts_the_drain_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with playing(tmp_path) as (play, told):
        await begun(play, tmp_path)
        play.pipeline.local_calls.cancel_all()
        status, refused, _ = await told.response()
        assert (status, refused["error"]["code"]) == (503, "shutting_down")
        assert disk(tmp_path) == []
