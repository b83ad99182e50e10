"""How many requests a pool may ask of another replica."""

from __future__ import annotations

from gateway.pools.retry_budget import RESERVE, WINDOW, RetryBudget

NOW = 500.0


def spent(budget: RetryBudget, now: float, *, answered: int = 0, in_flight_each: float = 0.0) -> int:
    """Retry as often as the budget allows at one moment, a thousand times at most."""
    for number in range(1000):
        if not budget.allows(now, answered=answered, in_flight_each=in_flight_each):
            return number
        budget.spend(now)
    return 1000


def test_a_pool_without_traffic_has_its_reserve_in_each_window() -> None:
    budget = RetryBudget(NOW)
    assert spent(budget, NOW) == RESERVE
    assert spent(budget, NOW + WINDOW / 2) == 0
    assert spent(budget, NOW + WINDOW) == RESERVE
    assert repr(budget) == f"<RetryBudget [{RESERVE} spent]>"


def test_a_tenth_of_what_was_answered_within_the_window_comes_on_top() -> None:
    budget = RetryBudget(NOW)
    assert spent(budget, NOW + 5.0, answered=300) == 30 + RESERVE


def test_what_was_answered_before_the_window_does_not_count() -> None:
    budget = RetryBudget(NOW)
    # Of 10,500 answers in 1,000 s, 105 fell into the latest 10 s, if they came evenly.
    assert spent(budget, NOW + 1000.0, answered=10_500) == 10 + RESERVE
    # What is known of the next 20 s is only that nothing has come.
    assert spent(budget, NOW + 1020.0, answered=10_500) == 3 + RESERVE
    assert spent(budget, NOW + 1030.0, answered=10_500) == 1 + RESERVE


def test_what_one_replica_has_in_flight_may_go_on_at_others() -> None:
    assert spent(RetryBudget(NOW), NOW, in_flight_each=64.0) == 64


def test_a_replica_that_leaves_takes_its_answers_along() -> None:
    budget = RetryBudget(NOW)
    assert budget.allows(NOW + 20.0, answered=1000, in_flight_each=0.0)
    assert spent(budget, NOW + 20.0, answered=10) == RESERVE
    assert spent(budget, NOW + 30.0, answered=112) == 5 + RESERVE
