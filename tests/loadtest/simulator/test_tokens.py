"""The tokenizer that needs no model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator import tokens


@given(st.text())
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    assert tokens.decode(tokens.encode(text)) == text
    assert len(tokens.encode(text)) == tokens.count(text)


@given(st.lists(st.integers(min_value=0, max_value=2**63 - 1)))
def test_any_ids_decode_to_something(ids: list[int]) -> None:
    assert isinstance(tokens.decode(ids), str)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("äöü", 2)])
def test_four_bytes_are_a_token(text: str, count: int) -> None:
    assert tokens.count(text) == count


def test_answers_are_numbered_words() -> None:
    assert tokens.text(3) == " t0 t1 t2"
    assert tokens.piece(12, 6) == " t12xx"
    assert tokens.text(2, 4) == " t0x t1x"


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("", (0, 0)),
        ("Say: t0", (1, 3)),
        (" t0 t1 t2", (3, 9)),
        (" t0 t1.", (0, 0)),
        ("Hi t8xx t9xx", (2, 10)),
        ("at0", (0, 0)),
    ],
)
def test_an_answer_that_was_begun_is_known_by_its_words(text: str, begun: tuple[int, int]) -> None:
    assert tokens.begun(text) == begun


def test_the_rest_of_an_answer() -> None:
    assert tokens.text(2, first=3) == " t3 t4"
