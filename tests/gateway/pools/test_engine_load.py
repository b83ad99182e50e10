"""An engine's load is read from vLLM's metrics, or from an ORCA header."""

from __future__ import annotations

import pytest

from gateway.pools.engine_load import EngineLoad, in_header, in_metrics

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 5.0
vllm:num_requests_waiting{engine="0",model_name="base"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="capacity"} 2.0
vllm:cache_config_info{block_size="128",cache_dtype="auto",hash_block_size="None",num_gpu_blocks="182"} 1.0
"""


def test_the_metrics_of_vllm_tell_requests_and_the_size_of_the_cache() -> None:
    assert in_metrics(VLLM) == EngineLoad(7.0, 182 * 128)


def test_several_engines_behind_one_address_are_added_up() -> None:
    assert in_metrics(VLLM + VLLM.replace(b'engine="0"', b'engine="1"')) == EngineLoad(14.0, 2 * 182 * 128)


def test_an_engine_that_knows_its_cache_not_yet_still_tells_its_requests() -> None:
    assert in_metrics(VLLM.replace(b'"182"', b'"None"')) == EngineLoad(7.0, 0)


@pytest.mark.parametrize("blocks", [b"-1", b"1e9", b"9" * 5000])
def test_a_number_of_blocks_that_is_none_is_as_good_as_not_told(blocks: bytes) -> None:
    assert in_metrics(VLLM.replace(b'"182"', b'"%b"' % blocks)) == EngineLoad(7.0, 0)


@pytest.mark.parametrize("number", [b"NaN", b"+Inf", b"-1.0", b"-", b".", b"e", b"1.0.0", b"1e"])
def test_a_number_of_requests_that_is_none_is_as_good_as_not_told(number: bytes) -> None:
    assert in_metrics(VLLM.replace(b"5.0", number)) == EngineLoad(2.0, 182 * 128)


@pytest.mark.parametrize("text", [b"", b"up 1\n", b'vllm:num_requests_waiting_by_reason{reason="x"} 2.0\n', b"\xff{"])
def test_other_metrics_tell_nothing(text: bytes) -> None:
    assert in_metrics(text) is None


@pytest.mark.parametrize(
    "header",
    [
        b"TEXT named_metrics.kv_cache_usage_perc=0.1, named_metrics.num_requests_waiting=3.0",
        b"TEXT named_metrics.num_requests_running=1,named_metrics.num_requests_waiting=2,broken",
        b'JSON {"named_metrics": {"num_requests_running": 3, "kv_cache_usage_perc": 0.2}}',
    ],
)
def test_an_orca_report_tells_requests(header: bytes) -> None:
    assert in_header(header) == EngineLoad(3.0)


@pytest.mark.parametrize(
    "header", [b"", b"TEXT ", b"TEXT cpu_utilization=0.3", b"JSON {", b"JSON []", b"BIN CAE=", b"\xff\xfe"]
)
def test_a_report_without_requests_tells_nothing(header: bytes) -> None:
    assert in_header(header) is None
