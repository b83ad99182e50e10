"""What is noted of an attempt."""

from __future__ import annotations

from gateway.core.recording import AttemptRecord, new_span_id


def test_ids_of_spans_are_16_digits_and_differ() -> None:
    ids = {new_span_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {16}


def test_the_first_outcome_stands() -> None:
    attempt = AttemptRecord("1", b"", "m", "m-0", "h", 80, began_at=1.0)
    attempt.end("failed")
    ended_at = attempt.ended_at
    attempt.end("aborted")
    assert (attempt.outcome, attempt.ended_at) == ("failed", ended_at)


def test_a_response_that_has_begun_has_a_first_byte() -> None:
    attempt = AttemptRecord("1", b"", "m", "m-0", "h", 80, began_at=1.0)
    assert not attempt.first_byte_at
    attempt.answered(200, streams=True)
    assert attempt.first_byte_at
    assert (attempt.status, attempt.streamed) == (200, True)
