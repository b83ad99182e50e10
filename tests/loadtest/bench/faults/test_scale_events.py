"""No stream is cut and no request fails while replicas come and go, also from zero and back."""

from __future__ import annotations

from loadtest.bench.faults.scale_events import ScaleSettings, measure


async def test_no_request_fails_and_no_stream_is_cut_while_replicas_come_and_go() -> None:
    lines: list[str] = []
    found = await measure(lines.append, ScaleSettings(events=200, round_seconds=0.5))
    assert [line.partition(":")[0].partition(" in ")[0] for line in lines] == [f"{found['events']} scale events"]
    assert found["events"] >= 200
    assert found["outcomes"] == {"ok": found["requests"]}
    assert (found["failed"], found["cut"]) == (0, 0)
    assert (found["attempts"], found["retries"]) == ({"ok": found["requests"]}, 0)
    # Otherwise nothing could have been cut.
    assert found["of which at replicas that were to go"] > 0
    assert found["times at zero"] > 0
