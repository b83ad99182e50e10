"""The latest errors are kept of each kind, in their order, and no more than so many."""

from __future__ import annotations

import pytest

from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import BadRequest, GatewayError, UpstreamFailed
from gateway.observe.recent_errors import KEPT, RecentErrors, RequestError


def ended(errors: RecentErrors, error: GatewayError, request_id: str = "req-1") -> None:
    head = RequestHead("10.0.0.1", endpoint="/v1/completions")
    errors.add(RequestContext(head, request_id, model="m", replica="m-0", status=error.status), error)


def test_an_error_is_kept_with_what_its_client_was_told() -> None:
    errors = RecentErrors()
    ended(errors, UpstreamFailed("It is gone."))
    (kept,) = errors.latest()
    assert (kept.request_id, kept.model, kept.replica, kept.endpoint) == ("req-1", "m", "m-0", "/v1/completions")
    assert (kept.status, kept.code, kept.message) == (502, "upstream_failed", "It is gone.")


def test_a_long_message_is_cut() -> None:
    errors = RecentErrors()
    ended(errors, BadRequest("x" * 5000))
    assert len(errors.latest()[0].message) == 300


def test_errors_of_clients_do_not_push_out_those_of_engines() -> None:
    errors = RecentErrors()
    ended(errors, UpstreamFailed("It is gone."))
    for number in range(3 * KEPT):
        ended(errors, BadRequest("No."), f"req-{number}")
    statuses = [each.status for each in errors.latest()]
    assert (statuses[0], len(statuses)) == (502, KEPT + 1)
    assert repr(errors) == f"<RecentErrors [{KEPT} of clients, 1 others]>"


@pytest.mark.parametrize("status", [400, 502])
def test_of_several_processes_the_latest_are_kept(status: int) -> None:
    first, second = (
        [RequestError(at, f"{at}", "m", "", "/", status, None, "") for at in each]
        for each in (
            [float(number) for number in range(0, 2 * KEPT, 2)],
            [float(number) for number in range(1, 2 * KEPT, 2)],
        )
    )
    errors = RecentErrors()
    errors.merge(first)
    errors.merge(second)
    assert [each.at for each in errors.latest()] == [float(number) for number in range(KEPT, 2 * KEPT)]
