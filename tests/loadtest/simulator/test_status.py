"""What the engine says about itself."""

from prometheus_client.parser import text_string_to_metric_families

from loadtest.simulator import Profile, SimulatedEngine, Timing
from tests.kit.wire import Wire


async def test_models(wire: Wire) -> None:
    await wire.request("GET", "/v1/models")
    answer = (await wire.response()).json
    assert answer["object"] == "list"
    assert [(each["id"], each["owned_by"], each["max_model_len"]) for each in answer["data"]] == [
        ("sim", "vllm", 2**20)
    ]


async def test_version(wire: Wire) -> None:
    await wire.request("GET", "/version")
    assert (await wire.response()).json == {"version": "0.32.0"}


async def test_health(wire: Wire) -> None:
    await wire.request("GET", "/health")
    assert (await wire.response()).body == b""


async def test_metrics_follow_the_batch() -> None:
    timing = Timing(ttft=3600, max_num_seqs=1, kv_cache_tokens=100)
    async with SimulatedEngine("m", timing=timing) as engine, await Wire.connect_to(engine.address) as wire:
        busy = [await Wire.connect_to(engine.address) for _ in range(3)]
        for each in busy:
            await each.request("POST", "/v1/embeddings", {"input": "x" * 100})
        await engine.until(lambda e: (e.running, e.waiting) == (1, 2))
        await wire.request("GET", "/metrics")
        answer = await wire.response()
        assert answer.header("content-type") == "text/plain; version=1.0.0; charset=utf-8"
        lines = answer.body.decode().splitlines()
        assert 'vllm:num_requests_running{engine="0",model_name="m"} 1.0' in lines
        assert 'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0' in lines
        assert 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25' in lines
        assert "# TYPE vllm:num_requests_running gauge" in lines
        for each in busy:
            await each.close()


async def test_metrics_show_the_prefix_cache_of_a_profile() -> None:
    profile = Profile(block_size=4, num_blocks=50)
    async with SimulatedEngine("m", profile=profile) as engine, await Wire.connect_to(engine.address) as wire:
        for _ in range(2):
            await wire.request("POST", "/v1/completions", {"prompt": "x" * 100, "max_tokens": 2})
            await wire.response()
        await wire.request("GET", "/metrics")
        lines = (await wire.response()).body.decode().splitlines()
    assert 'vllm:prefix_cache_queries_total{engine="0",model_name="m"} 50.0' in lines
    assert 'vllm:prefix_cache_hits_total{engine="0",model_name="m"} 24.0' in lines
    assert 'vllm:num_preemptions_total{engine="0",model_name="m"} 0.0' in lines
    assert "# TYPE vllm:prefix_cache_hits_total counter" in lines
    (facts,) = [line for line in lines if line.startswith("vllm:cache_config_info{")]
    assert 'block_size="4"' in facts
    assert 'num_gpu_blocks="50"' in facts


async def test_a_model_with_quotes_in_its_name_leaves_the_metrics_readable() -> None:
    async with SimulatedEngine('a"b\\c') as engine, await Wire.connect_to(engine.address) as wire:
        await wire.request("GET", "/metrics")
        families = list(text_string_to_metric_families((await wire.response()).body.decode()))
    assert {sample.labels["model_name"] for family in families for sample in family.samples} == {'a"b\\c'}
