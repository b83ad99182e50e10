"""Words are found by their tokens, joined into groups, and left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from engines.onnx.model.occlusion import Word, groups, without, words
from engines.onnx.model.tokens import PlacedIds, PromptTokenizer
from engines.onnx.protocol.requests import ClassifyRequest
from tests.engines.onnx.tiny import BAD, CLS, GOOD, SEP, write_tokenizer

PIECES = ["[UNK]", "un", "##kind", "kind", ",", "!", "'", "s", "it", "你", "好", "ab", "café", "cafe"]


def placed(tokenizer: PromptTokenizer, text: str, cut_to: int | None = None) -> PlacedIds:
    asked = ClassifyRequest(input=text, truncate_prompt_tokens=cut_to)
    (ids,) = tokenizer.encode_places(asked, "explain")
    return ids


@pytest.fixture
def pieces(tmp_path: Path) -> PromptTokenizer:
    """Make a tokenizer that cuts words into pieces, as BERT's does."""
    tokenizer = Tokenizer(WordPiece({piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    file = tmp_path / "tokenizer.json"
    tokenizer.save(str(file))
    return PromptTokenizer(file, 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it's unkind, kind!", ["it's", "unkind,", "kind!"]),
        ("  kind \n\t kind ", ["kind", "kind"]),
        ("你好 kind", ["你", "好", "kind"]),
        ("kind你", ["kind", "你"]),
        # A control character has no token, and parts no words.
        ("un\x00kind", ["un\x00kind"]),
        ("Café 🙂", ["Café", "🙂"]),
        ("kind", ["kind"]),
    ],
)
def test_words_are_what_white_space_parts_and_ideographs(
    pieces: PromptTokenizer, text: str, expected: list[str]
) -> None:
    found = words(text, placed(pieces, text))
    assert [text[word.start : word.end] for word in found] == expected


def test_a_word_is_left_out_with_all_its_tokens_and_special_ones_stay(tmp_path: Path) -> None:
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path))
    ids = placed(tokenizer, "good bad, good")
    first, second, last = words("good bad, good", ids)
    assert without(ids, second) == [CLS, GOOD, GOOD, SEP]
    assert ids[second.tokens[0]] == BAD
    assert without(ids, first.joined(second).joined(last)) == [CLS, SEP]


def test_what_is_cut_off_is_no_word_and_places_are_those_of_the_whole_text(tmp_path: Path) -> None:
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path))
    text = "good bad cat dog"
    kept = words(text, placed(tokenizer, text, 4))
    assert [text[word.start : word.end] for word in kept] == ["good", "bad"]


def test_white_space_that_a_token_holds_is_not_part_of_the_word() -> None:
    text = "a  b"
    ids = PlacedIds.__new__(PlacedIds)
    ids.extend([7, 8, 9])
    ids.places = [(0, 1), (1, 2), (2, 4)]
    assert words(text, ids) == [Word(0, 1, (0,)), Word(3, 4, (2,))]


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(3, 64, [1, 1, 1]), (5, 2, [2, 3]), (10_000, 64, [156, 157]), (1, 1, [1]), (0, 5, [])],
)
def test_a_long_text_is_left_out_in_groups_of_neighbours_of_like_size(count: int, most: int, sizes: list[int]) -> None:
    single = [Word(2 * at, 2 * at + 1, (at,)) for at in range(count)]
    joined = groups(single, most)
    assert len(joined) == min(count, most)
    assert sorted({len(group.tokens) for group in joined}) == sorted(set(sizes))
    assert [token for group in joined for token in group.tokens] == list(range(count))
    for group in joined:
        assert (group.start, group.end) == (2 * group.tokens[0], 2 * group.tokens[-1] + 1)
