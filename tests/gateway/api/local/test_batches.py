"""The Batch API as the official SDK uses it, in front of a simulated engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from loadtest.simulator.batch import Timing
from loadtest.simulator.server import SimulatedEngine
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway, remote

CHAT: Any = "/v1/chat/completions"
INSTANT = Timing()
AN_HOUR: Any = {"anchor": "created_at", "seconds": 3600}


def line(number: int, url: str = CHAT, **body: Any) -> dict[str, Any]:
    fields = {"model": "sim", "messages": [{"role": "user", "content": f"Hi {number}"}], "max_tokens": 2, **body}
    return {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": fields}


def jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def sdk(running: RunningGateway, api_key: str = "unused") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key=api_key, max_retries=0)


@asynccontextmanager
async def serving(
    tmp_path: Path, timing: Timing = INSTANT, model: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[openai.AsyncOpenAI, SimulatedEngine]]:
    """Run a gateway in front of a simulated engine, and the official SDK against it."""
    async with (
        SimulatedEngine(uds=tmp_path / "sim.sock", timing=timing) as engine,
        gateway(
            {"sim": remote(engine.address, **(model or {}))}, files={"folder": str(tmp_path / "f")}, **settings
        ) as running,
        sdk(running) as api,
    ):
        yield api, engine


async def begin(api: openai.AsyncOpenAI, content: bytes, endpoint: Any = CHAT, **options: Any) -> Batch:
    file = await api.files.create(file=("in.jsonl", content), purpose="batch")
    return await api.batches.create(input_file_id=file.id, endpoint=endpoint, **{"completion_window": "24h", **options})


async def ended(api: openai.AsyncOpenAI, batch: Batch) -> Batch:
    """Wait for the end of a batch."""
    async with asyncio.timeout(120):
        while batch.status not in ("failed", "completed", "expired", "cancelled"):
            await asyncio.sleep(0.02)
            batch = await api.batches.retrieve(batch.id)
    return batch


async def results(api: openai.AsyncOpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """Read a file of results, by the lines that they answer."""
    assert file_id is not None
    read = [json.loads(each) for each in (await api.files.content(file_id)).text.splitlines()]
    assert len({each["custom_id"] for each in read}) == len(read)
    return {each["custom_id"]: each for each in read}


async def test_each_line_is_answered_in_the_output(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, _):
        batch = await begin(api, jsonl([line(n) for n in range(50)]), metadata={"run": "1"})
        assert (batch.object, batch.status, batch.completion_window) == ("batch", "validating", "24h")
        assert (batch.metadata, batch.expires_at) == ({"run": "1"}, batch.created_at + 24 * 3600)
        batch = await ended(api, batch)
        assert (batch.status, batch.model, batch.error_file_id) == ("completed", "sim", None)
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 50, "completed": 50, "failed": 0}
        found = await results(api, batch.output_file_id)
        assert set(found) == {f"line-{n}" for n in range(50)}
        one = found["line-7"]
        assert one["id"].startswith("batch_req_")
        assert one["error"] is None
        assert (one["response"]["status_code"], one["response"]["request_id"]) == (200, one["id"])
        assert one["response"]["body"]["choices"][0]["message"]["content"]
        output = await api.files.retrieve(batch.output_file_id or "")
        assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
        assert output.expires_at is None


async def test_a_line_that_is_refused_is_in_the_file_of_errors(tmp_path: Path) -> None:
    lines = [line(1), line(2, max_tokens=-1), line(3, n=1000)]
    async with serving(tmp_path) as (api, _):
        batch = await ended(api, await begin(api, jsonl(lines)))
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 3, "completed": 1, "failed": 2}
        assert set(await results(api, batch.output_file_id)) == {"line-1"}
        errors = await results(api, batch.error_file_id)
        assert set(errors) == {"line-2", "line-3"}
        assert errors["line-3"]["error"] is None
        response = errors["line-3"]["response"]
        assert (response["status_code"], response["body"]["error"]["param"]) == (400, "n")


async def test_bad_lines_are_named_and_nothing_is_asked(tmp_path: Path) -> None:
    lines = [
        line(1),
        line(1),
        line(2, url="/v1/completions"),
        line(3) | {"method": "GET"},
        line(4, stream=True),
        line(5, model="who"),
    ]
    async with serving(tmp_path) as (api, engine):
        batch = await ended(api, await begin(api, jsonl(lines)))
        assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert [(each.line, each.code, each.param) for each in batch.errors.data] == [
            (2, "duplicate_custom_id", "custom_id"),
            (3, "url_mismatch", "url"),
            (4, "invalid_request", "method"),
            (5, "invalid_request", "body.stream"),
            (6, "model_not_found", "body.model"),
        ]
        assert not [each for each in engine.requests if each.path == CHAT]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/completions", {"prompt": "Hi", "max_tokens": 2}),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 2}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}),
        ("/v1/embeddings", {"input": "Hi"}),
        ("/classify", {"input": "Hi"}),
        ("/v1/rerank", {"query": "Hi", "documents": ["Ho"]}),
    ],
)
async def test_every_endpoint_that_takes_json_takes_batches(tmp_path: Path, endpoint: str, body: Any) -> None:
    async with serving(tmp_path) as (api, _):
        requests = [
            {"custom_id": str(n), "method": "POST", "url": endpoint, "body": {"model": "sim", **body}} for n in range(2)
        ]
        batch = await ended(api, await begin(api, jsonl(requests), endpoint))
        assert batch.status == "completed", batch.errors
        assert set(await results(api, batch.output_file_id)) == {"0", "1"}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": "30m"}, "completion_window"),
        ({"endpoint": "/v1/audio/transcriptions"}, "endpoint"),
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after[seconds]"),
    ],
)
async def test_a_batch_that_cannot_be_begun(tmp_path: Path, options: Any, param: str) -> None:
    async with serving(tmp_path) as (api, _):
        with pytest.raises(openai.BadRequestError) as refused:
            await begin(api, jsonl([line(1)]), **options)
        assert refused.value.param == param
        assert (await api.batches.list()).data == []


async def test_the_input_must_be_a_file_for_batches(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, _):
        file = await api.files.create(file=("a", b"x"), purpose="user_data")
        with pytest.raises(openai.BadRequestError, match="purpose 'batch'") as refused:
            await api.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        with pytest.raises(openai.NotFoundError) as missing:
            await api.batches.create(input_file_id="file-0", endpoint=CHAT, completion_window="24h")
        assert (refused.value.param, missing.value.param) == ("input_file_id", "input_file_id")


async def test_the_sdk_goes_through_all_pages(tmp_path: Path) -> None:
    async with serving(tmp_path) as (api, _):
        batches = [await begin(api, jsonl([line(n)])) for n in range(3)]
        ids = [batch.id for batch in batches][::-1]
        assert [batch.id async for batch in api.batches.list(limit=2)] == ids
        page = await api.batches.list(limit=2)
        assert (page.has_more, [batch.id for batch in page.data]) == (True, ids[:2])
        for query in ({"limit": 0}, {"limit": 101}, {"after": "batch_0"}):
            with pytest.raises(openai.BadRequestError):
                await api.batches.list(**query)
        with pytest.raises(openai.NotFoundError):
            await api.batches.retrieve("batch_0")


async def test_a_batch_that_is_cancelled_keeps_the_answers_it_has(tmp_path: Path) -> None:
    async with serving(tmp_path, Timing(ttft=0.05)) as (api, engine):
        batch = await begin(api, jsonl([line(n) for n in range(500)]), output_expires_after=AN_HOUR)
        await eventually(lambda: any(each.path == CHAT for each in engine.requests))
        await asyncio.sleep(0.2)
        assert (await api.batches.cancel(batch.id)).status == "cancelling"
        assert (await api.batches.cancel(batch.id)).status in ("cancelling", "cancelled")
        batch = await ended(api, batch)
        assert batch.status == "cancelled"
        assert batch.cancelled_at is not None
        assert batch.request_counts is not None
        found = await results(api, batch.output_file_id)
        assert 0 < len(found) == batch.request_counts.completed < 500
        file = await api.files.retrieve(batch.output_file_id or "")
        assert file.expires_at == file.created_at + 3600
        with pytest.raises(openai.BadRequestError) as refused:
            await api.batches.cancel(batch.id)
        assert refused.value.code == "batch_not_cancellable"


async def test_the_input_may_be_deleted_while_its_batch_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, Timing(ttft=0.01)) as (api, _):
        batch = await begin(api, jsonl([line(n) for n in range(20)]))
        await api.files.delete(batch.input_file_id)
        batch = await ended(api, batch)
        assert batch.status == "completed"
        assert len(await results(api, batch.output_file_id)) == 20


async def test_a_key_sees_its_own_batches_alone_and_asks_what_it_may(tmp_path: Path) -> None:
    keys: list[dict[str, Any]] = [
        {"id": name, "sha256": sha256(f"sk-{name}".encode()).hexdigest()} for name in ("alice", "bob")
    ]
    keys[0]["models"] = ["other"]
    async with (
        SimulatedEngine(uds=tmp_path / "sim.sock") as engine,
        gateway(
            {"sim": remote(engine.address), "other": remote(engine.address)},
            files={"folder": str(tmp_path / "f")},
            keys=keys,
        ) as running,
        sdk(running, "sk-alice") as alice,
        sdk(running, "sk-bob") as bob,
    ):
        batch = await ended(alice, await begin(alice, jsonl([line(1)])))
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert batch.errors.data[0].code == "model_not_allowed"
        assert (await bob.batches.list()).data == []
        with pytest.raises(openai.NotFoundError):
            await bob.batches.cancel(batch.id)
        assert (await ended(bob, await begin(bob, jsonl([line(1)])))).status == "completed"


async def test_so_many_batches_of_a_key_and_no_more(tmp_path: Path) -> None:
    async with serving(tmp_path, Timing(ttft=60.0), batches={"max_batches": 1}) as (api, _):
        batch = await begin(api, jsonl([line(1)]))
        with pytest.raises(openai.RateLimitError, match=r"batches\.max_batches") as refused:
            await begin(api, jsonl([line(1)]))
        assert refused.value.code == "batch_limit_exceeded"
        await api.batches.cancel(batch.id)
        await ended(api, batch)
        await begin(api, jsonl([line(1)]))
