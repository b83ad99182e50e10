"""What is written of a comparison, and which targets are missed."""

from typing import Any

from loadtest.bench.gpu.report import chart, misses, table


def point(mode: str = "streamed", streams: int = 16, **changes: Any) -> dict[str, Any]:
    figures = {f"{name}_p{percent}_ms": 10.0 for name in ("ttft", "tpot", "e2e") for percent in (50, 99)}
    direct = {"tokens_per_second": 2000.0, **figures}
    gateway = {"tokens_per_second": 1990.0, **figures, "cores": 0.03, "cores_per_10k": 0.15}
    found = {"mode": mode, "streams": streams, "direct": direct, "gateway": gateway, "share": 0.995, "failed": 0}
    added = {"ttft_added_ms": 0.5, "tpot_times": 1.001} if mode == "streamed" else {}
    return {**found, **added, **changes}


def found(*points: dict[str, Any], knee: int | None = 16, full: bool = True) -> dict[str, Any]:
    return {
        "part": "gpu",
        "shape": "8b",
        "engine": {"vllm": "0.24.0", "gpu": "Abacus, 1.0"},
        "prompt": 256,
        "response": 128,
        "rounds": 5,
        "idle_cores": 0.003,
        "knee": None if knee is None else {"streams": knee, "full": full},
        "points": list(points),
    }


def test_both_sides_stand_beside_each_other() -> None:
    written = table(found(point(), point("unary")))
    assert written.startswith("vLLM 0.24.0 on Abacus, 1.0, with a model of the shape `8b`.")
    assert "The knee is at 16 streams." in written
    row = (
        "| 16 | 2,000, 1,990 | 99.5% | 10.00, 10.00 | 10.00, 10.00 | 10.00, 10.00 | 10.00, 10.00 | 0.030 | 0.150 | 0 |"
    )
    assert row in written
    assert "| 16 | 2,000, 1,990 | 99.5% | 10.00, 10.00 | 10.00, 10.00 | 0.030 | 0.150 | 0 |" in written


def test_a_knee_that_was_not_found_is_not_one() -> None:
    assert "The knee was not found up to 512 streams." in table(found(point(), knee=512, full=False))
    assert "knee" not in table(found(point(), knee=None))


def test_the_chart_has_both_sides() -> None:
    drawn = chart(found(point(streams=1), point(streams=16), point("unary"))).file()
    assert "without a gateway" in drawn
    assert "through the gateway: 16, 1990" in drawn
    assert chart(found(point(streams=1))).file().startswith("<svg")


def test_each_target_is_named_where_it_is_missed() -> None:
    assert misses(found(point(), point("unary"))) == []
    slow = point(share=0.98, ttft_added_ms=1.5, tpot_times=1.02)
    slow["gateway"]["cores_per_10k"] = 0.3
    assert misses(found(slow)) == [
        "gpu, 16 streamed: 98.00% of the tokens/s, at least 99% are wanted",
        "gpu, 16 streamed: TTFT p50 + 1.50 ms, at most 1 wanted",
        "gpu, 16 streamed: TPOT p50 times 1.020, at most 1.01 wanted",
        "gpu, 16 streamed: 0.30 cores per 10,000 tokens/s, at most 0.2 wanted",
    ]
