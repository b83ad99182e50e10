"""A round gives every member of a collection, some at each beat."""

from __future__ import annotations

from gateway.rounds import Round


def test_few_members_are_all_given_at_each_beat() -> None:
    rounds: Round[str] = Round(beats=10, at_once=3)
    assert [sorted(rounds.some({"a", "b", "c"})) for _ in range(2)] == [["a", "b", "c"]] * 2
    assert rounds.some(set()) == []


def test_many_members_are_each_given_once_in_so_many_beats() -> None:
    members = set(range(100))
    rounds: Round[int] = Round(beats=5, at_once=3)
    for _ in range(2):
        turns = [rounds.some(members) for _ in range(5)]
        assert [len(turn) for turn in turns] == [20] * 5
        assert {each for turn in turns for each in turn} == members
    rounds.some(members)
    assert repr(rounds) == "<Round of 5 beats [80 left]>"


def test_who_comes_within_a_round_has_a_turn_in_the_next() -> None:
    members = {1, 2, 3, 4}
    rounds: Round[int] = Round(beats=2, at_once=1)
    first = rounds.some(members)
    members.add(5)
    assert {*first, *rounds.some(members)} == {1, 2, 3, 4}
    assert {*rounds.some(members), *rounds.some(members), *rounds.some(members)} == {1, 2, 3, 4, 5}
