"""Who holds which blocks, which of them are known, and who is forgotten first."""

from loadtest.simulator.blocks import Blocks, hashes_of


def test_blocks_are_taken_until_none_is_left() -> None:
    blocks = Blocks(4, 16)
    assert blocks.take(3) == [0, 1, 2]
    assert blocks.usage == 0.75
    assert blocks.take(2) is None
    assert repr(blocks) == "<Blocks [1 of 4 free, 0 known]>"
    blocks.release([1, 2])
    assert blocks.take(3) == [3, 2, 1]


def test_a_known_prefix_is_shared_and_stays_until_all_have_released_it() -> None:
    blocks = Blocks(4, 16)
    first = blocks.take(2) or []
    blocks.name(first[0], 111)
    blocks.name(first[1], 222)
    known = blocks.known([111, 222, 333])
    assert known == first
    assert blocks.take(1, known) == [*first, 2]
    blocks.release(first)
    assert blocks.usage == 0.75
    blocks.release([*first, 2])
    assert blocks.usage == 0


def test_only_the_beginning_counts_as_a_prefix() -> None:
    blocks = Blocks(4, 16)
    taken = blocks.take(2) or []
    blocks.name(taken[1], 222)
    assert blocks.known([111, 222]) == []


def test_a_known_block_that_nobody_holds_is_room_too_and_the_longest_unused_goes_first() -> None:
    blocks = Blocks(2, 16)
    for digest in (111, 222):
        taken = blocks.take(1) or []
        blocks.name(taken[0], digest)
        blocks.release(taken)
    blocks.take(1)
    assert blocks.known([111]) == []
    assert blocks.known([222]) == [1]


def test_of_one_prompt_the_end_is_given_away_before_the_beginning() -> None:
    blocks = Blocks(2, 16)
    taken = blocks.take(2) or []
    blocks.name(taken[0], 111)
    blocks.name(taken[1], 222)
    blocks.release(taken)
    blocks.take(1)
    assert blocks.known([111, 222]) == [taken[0]]


def test_blocks_of_a_prefix_that_are_free_are_not_counted_twice_as_room() -> None:
    blocks = Blocks(2, 16)
    taken = blocks.take(1) or []
    blocks.name(taken[0], 111)
    blocks.release(taken)
    assert blocks.take(2, blocks.known([111])) is None
    assert blocks.take(1, blocks.known([111])) == [0, 1]


def test_a_block_is_known_by_one_name_only() -> None:
    blocks = Blocks(2, 16)
    blocks.take(2)
    blocks.name(0, 111)
    blocks.name(1, 111)
    assert blocks.known([111]) == [0]


def test_equal_beginnings_have_equal_hashes() -> None:
    one, other = hashes_of(b"a" * 64 + b"b" * 64, 16), hashes_of(b"a" * 64 + b"c" * 64, 16)
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert len(one) == 2


def test_the_same_block_behind_another_beginning_is_another() -> None:
    assert hashes_of(b"a" * 64 + b"x" * 64, 16)[1] != hashes_of(b"b" * 64 + b"x" * 64, 16)[1]


def test_only_full_blocks_have_hashes_and_token_ids_count_singly() -> None:
    assert len(hashes_of(b"a" * 127, 16)) == 1
    assert len(hashes_of(list(range(47)), 16)) == 2
    assert hashes_of(b"", 16) == []
