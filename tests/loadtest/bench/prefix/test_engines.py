"""Several simulated engines run in one process, each with a cache of its own."""

from __future__ import annotations

import re

import pytest

from loadtest.bench.cpu_affinity import load_and_gateway_cpus
from loadtest.bench.launch import launched, python
from loadtest.bench.prefix.engines import MODEL, profile
from loadtest.http_client import HttpClient
from loadtest.workload import chat


def test_a_faster_engine_has_the_same_cache() -> None:
    slow, fast = profile(speed=1, num_blocks=100), profile(speed=4, num_blocks=100)
    assert (slow.capacity, fast.capacity) == (1600, 1600)
    assert fast.prefill_token == slow.prefill_token / 4


@pytest.mark.slow
async def test_each_engine_answers_at_its_own_address_and_finds_its_own_prefixes() -> None:
    options = ["--number", "2", "--num-blocks", "1000", "--speed", "100"]
    async with launched(python("loadtest.bench.prefix.engines", *options), load_and_gateway_cpus()[0]) as process:
        listening = (await process.until_written(re.compile(r"engines listen on (.+)")))[1].split()
        assert len(set(listening)) == 2
        asked = chat(MODEL, "word" * 160, 2, stream=False)
        async with HttpClient(listening[0]) as one, HttpClient(listening[1]) as other:
            pages = []
            for client in (one, one, other):
                assert (await client.post(asked.path, asked.body)).status == 200
                pages.append((await client.get("/metrics")).text)
        hits = [
            float(each) for page in pages for each in re.findall(r"^vllm:prefix_cache_hits_total.* (\S+)$", page, re.M)
        ]
        assert hits[0] == hits[2] == 0.0
        assert hits[1] >= 144
