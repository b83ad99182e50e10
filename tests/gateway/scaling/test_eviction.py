"""An idle replica gives way only where that lets one that waits start or wake, and as few as possible do."""

from __future__ import annotations

import pytest

from gateway.scaling.eviction import Eviction, Idle, Room, Wants, left_beside, make_room


def room(gpus: str = "", cpu_slots: int | None = 0) -> Room:
    return Room(frozenset(gpus), cpu_slots)


def idle(model: str, *gpus: str, since: float = 0.0, may_go: int | None = None) -> Idle:
    """Make an idle model whose replicas have these GPUs, the first to go first."""
    replicas = {f"{model}-{number}": frozenset(each) for number, each in enumerate(gpus)}
    return Idle(model, since, replicas, len(gpus) if may_go is None else may_go)


def going(*wants: Wants | str, free: Room | None = None, among: list[Idle]) -> list[str]:
    """Say which replicas go for one that can be had in these ways; a text names the GPUs on which it sleeps."""
    ways = [frozenset(each) if isinstance(each, str) else each for each in wants]
    eviction = make_room([("m", ways)], free or room(), among)
    return [] if eviction is None else [name for names in eviction.going.values() for name in names]


def test_of_several_that_would_do_the_longest_idle_goes() -> None:
    models = [idle("a", "0", since=5.0), idle("b", "1", since=3.0), idle("c", "2", since=4.0)]
    assert going(1, among=models) == ["b-0"]


def test_one_that_is_idle_for_longer_stays_if_it_holds_something_else() -> None:
    on_cpu, on_gpu = idle("a", "", since=1.0), idle("b", "0", since=9.0)
    assert going(1, among=[on_cpu, on_gpu]) == ["b-0"]
    assert going(0, among=[idle("a", "0", since=1.0), idle("b", "", since=9.0)]) == ["b-0"]


def test_one_that_sleeps_gets_the_gpus_on_which_it_sleeps() -> None:
    models = [idle("a", "0", since=1.0), idle("b", "1", since=9.0)]
    assert going("1", 1, among=models) == ["b-0"]


def test_of_the_replicas_of_a_model_the_one_on_those_gpus_goes() -> None:
    assert going("1", 1, among=[idle("a", "0", "1", may_go=1)]) == ["a-1"]


def test_of_several_that_sleep_the_one_is_woken_whose_gpus_are_idle_for_the_longest() -> None:
    assert going("0", "1", 1, among=[idle("a", "0", since=9.0), idle("b", "1", since=1.0)]) == ["b-0"]


def test_one_is_started_elsewhere_if_its_own_gpus_are_in_use() -> None:
    assert going("0", 1, among=[idle("b", "1")]) == ["b-0"]


def test_starting_elsewhere_is_better_if_fewer_go_for_it() -> None:
    assert going("01", 2, among=[idle("a", "0", since=1.0), idle("b", "1", since=2.0), idle("c", "23")]) == ["c-0"]


def test_several_go_if_only_together_they_suffice() -> None:
    models = [idle("a", "0", since=3.0), idle("b", "1", since=1.0), idle("c", "2", since=2.0)]
    assert going(2, among=models) == ["b-0", "c-0"]
    assert going("02", among=models) == ["c-0", "a-0"]


def test_the_fewest_go() -> None:
    models = [idle("a", "0", since=1.0), idle("b", "1", since=2.0), idle("c", "23", since=9.0)]
    assert going(2, among=models) == ["c-0"]
    assert going(3, among=models) == ["a-0", "c-0"]


def test_what_is_free_already_need_not_be_given() -> None:
    models = [idle("a", "01", since=9.0), idle("b", "2", since=1.0)]
    assert going(2, free=room("3"), among=models) == ["b-0"]
    assert going("23", free=room("3"), among=models) == ["b-0"]


@pytest.mark.parametrize("wants", [2, "01", "04", 0])
def test_nobody_goes_in_vain(wants: Wants | str) -> None:
    assert going(wants, among=[idle("a", "0")]) == []


def test_nobody_goes_where_there_is_room_or_will_be() -> None:
    models = [idle("a", "0"), idle("b", "")]
    assert going(1, free=room("1"), among=models) == []
    assert going("1", free=room("1"), among=models) == []
    assert going(0, free=room(cpu_slots=1), among=models) == []
    assert going(0, free=room(cpu_slots=None), among=models) == []


def test_where_fewer_may_run_on_the_cpu_than_do_as_many_go_as_are_too_many() -> None:
    models = [idle("a", "", since=2.0), idle("b", "", "", since=1.0)]
    assert going(0, free=room(cpu_slots=-1), among=models) == ["b-0", "b-1"]
    assert going(0, free=room(cpu_slots=-3), among=models) == []


def test_a_model_keeps_as_many_as_it_must() -> None:
    assert going(1, among=[idle("a", "0", may_go=0)]) == []
    assert going("01", among=[idle("a", "0", "1", may_go=1)]) == []
    assert going(2, among=[idle("a", "0", "1", may_go=1), idle("b", "2", since=5.0)]) == ["a-0", "b-0"]


def test_a_replica_without_counted_room_makes_nobody_go() -> None:
    assert going(among=[idle("a", "0")]) == []


def test_room_is_set_aside_for_those_before_in_line() -> None:
    models = [idle("a", "0"), idle("b", "")]
    assert make_room([("first", [1]), ("second", [1])], room("1"), models) == Eviction("second", {"a": ["a-0"]})
    assert make_room([("first", [frozenset("1")]), ("second", [1])], room("12"), models) is None
    assert make_room([("first", [0]), ("second", [0])], room(cpu_slots=1), models) == Eviction("second", {"b": ["b-0"]})


def test_what_is_left_beside_those_in_line_is_what_they_do_not_fit_into() -> None:
    assert left_beside([[2], [1]], room("0123")) == room("3")
    assert left_beside([[frozenset("1"), 1], [frozenset("1"), 1]], room("123")) == room("3")
    assert left_beside([[3], [1]], room("01")) == room("1")
    assert left_beside([[0]], room(cpu_slots=1)) == room(cpu_slots=0)


def test_one_that_cannot_be_helped_does_not_hold_up_the_next() -> None:
    waiting = [("first", [4]), ("second", [1])]
    assert make_room(waiting, room(), [idle("a", "0")]) == Eviction("second", {"a": ["a-0"]})


def test_those_that_go_are_named_by_their_models() -> None:
    models = [idle("a", "0", "1", since=1.0), idle("b", "2", since=2.0)]
    assert make_room([("m", [3])], room(), models) == Eviction("m", {"a": ["a-0", "a-1"], "b": ["b-0"]})
