"""Texts become token ids within the model's limit, and what cannot is refused in vLLM's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from engines.onnx.errors import BadRequest, ModelError
from engines.onnx.model.tokens import MAX_PROMPT_CHARACTERS, PromptTokenizer
from engines.onnx.protocol.inputs import Side
from engines.onnx.protocol.requests import ClassifyRequest, PairRequest, TokenizeRequest
from tests.engines.onnx.tiny import BAD, CAT, CLS, DOG, END, GOOD, SEP, UNK, WORDS, write_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> PromptTokenizer:
    return PromptTokenizer(write_tokenizer(tmp_path), 6)


def request(given: Any, **options: Any) -> ClassifyRequest:
    return ClassifyRequest(input=given, **options)


def refusal(tokenizer: PromptTokenizer, given: Any, **options: Any) -> tuple[str, str | None]:
    with pytest.raises(BadRequest) as raised:
        tokenizer.encode(request(given, **options))
    return raised.value.message, raised.value.param


def test_a_text_gets_its_special_tokens_and_no_padding(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(request("Good cat")) == [[CLS, GOOD, CAT, SEP]]


def test_texts_stay_in_their_order(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(request(["dog", "cat dog cat", "?"])) == [
        [CLS, DOG, SEP],
        [CLS, CAT, DOG, CAT, SEP],
        [CLS, UNK, SEP],
    ]


def test_special_tokens_can_be_left_out(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(request("good cat", add_special_tokens=False)) == [[GOOD, CAT]]


def test_an_empty_text_is_its_special_tokens(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(request("")) == [[CLS, SEP]]


def test_an_empty_text_without_special_tokens_is_refused(tokenizer: PromptTokenizer) -> None:
    assert refusal(tokenizer, ["cat", " "], add_special_tokens=False) == ("The prompt cannot be empty", "input[1]")


def test_token_ids_are_used_as_they_are(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(request([CAT, DOG])) == [[CAT, DOG]]
    assert tokenizer.encode(request([[CAT], [DOG, SEP]])) == [[CAT], [DOG, SEP]]


@pytest.mark.parametrize(("given", "place"), [([[CAT], [CAT, END + 1]], "input[1]"), ([END + 1], "input")])
def test_token_ids_beyond_the_vocabulary_are_refused(tokenizer: PromptTokenizer, given: Any, place: str) -> None:
    assert refusal(tokenizer, given) == ("Token id 10 is out of vocabulary, which has 10 tokens", place)


def test_no_token_ids_are_refused(tokenizer: PromptTokenizer) -> None:
    assert refusal(tokenizer, [[CAT], []]) == ("The prompt cannot be empty", "input[1]")


@pytest.mark.parametrize(
    ("given", "place"), [("cat " * 5, "input"), (["cat", "cat " * 5], "input[1]"), ([[CAT], [CAT] * 7], "input[1]")]
)
def test_a_text_that_is_too_long_is_refused_as_vllm_does(tokenizer: PromptTokenizer, given: Any, place: str) -> None:
    assert refusal(tokenizer, given) == (
        "This model's maximum context length is 6 tokens. However, your prompt contains 7 input tokens, which exceeds "
        "this limit even without any output tokens. Please reduce the length of the input prompt.",
        place,
    )


def test_a_text_of_just_the_limit_is_taken(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode(request("cat " * 4)) == [[CLS, CAT, CAT, CAT, CAT, SEP]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"truncate_prompt_tokens": 4}, [CLS, GOOD, BAD, SEP]),
        ({"truncate_prompt_tokens": 4, "truncation_side": "right"}, [CLS, GOOD, BAD, SEP]),
        ({"truncate_prompt_tokens": 4, "truncation_side": "left"}, [CLS, DOG, END, SEP]),
        ({"truncate_prompt_tokens": 2, "add_special_tokens": False}, [GOOD, BAD]),
        ({"truncate_prompt_tokens": -1}, [CLS, GOOD, BAD, CAT, DOG, SEP]),
    ],
)
def test_truncation_keeps_special_tokens_and_the_wanted_end(
    tokenizer: PromptTokenizer, options: dict[str, Any], expected: list[int]
) -> None:
    assert tokenizer.encode(request("good bad cat dog end", **options)) == [expected]


def test_truncation_leaves_short_texts_alone(tokenizer: PromptTokenizer) -> None:
    texts = tokenizer.encode(request(["cat", "cat dog end good"], truncate_prompt_tokens=4))
    assert texts == [[CLS, CAT, SEP], [CLS, CAT, DOG, SEP]]


@pytest.mark.parametrize(("side", "kept"), [(None, [GOOD, BAD]), ("right", [GOOD, BAD]), ("left", [DOG, END])])
def test_token_ids_are_truncated_too(tokenizer: PromptTokenizer, side: Any, kept: list[int]) -> None:
    given = [GOOD, BAD, CAT, DOG, END]
    assert tokenizer.encode(request(given, truncate_prompt_tokens=2, truncation_side=side)) == [kept]


def test_truncation_to_more_than_the_limit_is_refused_as_vllm_does(tokenizer: PromptTokenizer) -> None:
    assert refusal(tokenizer, "cat", truncate_prompt_tokens=7) == (
        "truncate_prompt_tokens=7 cannot be greater than max_model_len = 6. Please request a smaller truncation size.",
        "truncate_prompt_tokens",
    )


def test_truncation_to_nothing_but_special_tokens_is_refused(tokenizer: PromptTokenizer) -> None:
    assert refusal(tokenizer, "cat", truncate_prompt_tokens=2) == (
        "truncate_prompt_tokens=2 leaves no room beside the model's 2 special tokens",
        "truncate_prompt_tokens",
    )


def test_a_text_that_is_certainly_too_long_is_refused_before_it_is_tokenized(tokenizer: PromptTokenizer) -> None:
    # The longest word, `poison`, has 6 letters; 6 tokens of these have 36.
    assert refusal(tokenizer, ["cat", "c" * 37]) == (
        "This model's maximum context length is 6 tokens. However, your prompt contains 37 characters (more than 36 "
        "characters, which is the upper bound for 6 input tokens). Please reduce the length of the input prompt.",
        "input[1]",
    )


@pytest.mark.parametrize(("side", "kept"), [("right", GOOD), ("left", END)])
def test_of_a_huge_text_only_the_end_that_counts_is_tokenized(tokenizer: PromptTokenizer, side: Any, kept: int) -> None:
    text = "good " + "cat " * 100_000 + " end"
    (ids,) = tokenizer.encode(request(text, truncate_prompt_tokens=-1, truncation_side=side))
    assert len(ids) == 6
    assert kept in ids


def pairs(tokenizer: PromptTokenizer, left: list[str], right: list[str], **options: Any) -> list[list[int]]:
    return [list(pair) for pair in tokenizer.encode_pairs(Side("l", left), Side("r", right), PairRequest(**options))]


def test_pairs_are_made_of_both_sides_or_of_the_only_left_text(tmp_path: Path) -> None:
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path), 9)
    assert pairs(tokenizer, ["cat", "dog"], ["good", "bad"]) == [[CLS, CAT, SEP, GOOD, SEP], [CLS, DOG, SEP, BAD, SEP]]
    assert pairs(tokenizer, ["cat"], ["good", "bad"]) == [[CLS, CAT, SEP, GOOD, SEP], [CLS, CAT, SEP, BAD, SEP]]


@pytest.mark.parametrize(
    ("left", "right", "kept"),
    [(5, 1, (4, 1)), (1, 5, (1, 4)), (4, 4, (2, 3)), (9, 4, (3, 2)), (2, 9, (2, 3)), (9, 2, (3, 2)), (3, 2, (3, 2))],
)
def test_a_pair_that_is_cut_loses_tokens_of_its_longer_text(
    tmp_path: Path, left: int, right: int, kept: tuple[int, int]
) -> None:
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path), 12)
    (pair,) = pairs(tokenizer, ["cat " * left], ["dog " * right], truncate_prompt_tokens=8)
    assert (pair.count(CAT), pair.count(DOG)) == kept


def test_a_text_that_is_cut_for_one_pair_is_whole_in_the_next(tmp_path: Path) -> None:
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path), 9)
    first, second = pairs(tokenizer, ["cat " * 5], ["dog " * 9, "dog"], truncate_prompt_tokens=9)
    assert (first.count(CAT), second.count(CAT)) == (3, 5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_either_side_of_a_pair_has_a_limit_of_its_own(tokenizer: PromptTokenizer, side: str) -> None:
    limits = {"max_tokens_per_query": 1, "max_tokens_per_doc": 2, "truncation_side": side, "truncate_prompt_tokens": -1}
    assert pairs(tokenizer, ["good " + "cat " * 90], ["good bad " + "dog " * 90], **limits) == [
        [CLS, GOOD, SEP, GOOD, BAD, SEP]
    ]


def test_a_pair_that_is_too_long_is_refused_with_its_place(tokenizer: PromptTokenizer) -> None:
    with pytest.raises(BadRequest, match="your prompt contains 7 input tokens") as raised:
        pairs(tokenizer, ["cat"], ["dog", "dog dog dog"])
    assert raised.value.param == "r[1]"


def test_tokens_know_their_places_in_the_text(tokenizer: PromptTokenizer) -> None:
    (placed,) = tokenizer.encode_places(request(" good,cat"), "return_spans")
    assert placed == [CLS, GOOD, UNK, CAT, SEP]
    assert placed.places == [None, (1, 5), (5, 6), (6, 9), None]


def test_tokenize_gives_ids_and_their_strings_beyond_the_models_limit(tokenizer: PromptTokenizer) -> None:
    ids, strings = tokenizer.tokenize(TokenizeRequest(prompt="cat dog cat dog cat dog"))
    assert ids == [CLS, CAT, DOG, CAT, DOG, CAT, DOG, SEP]
    assert strings == ["[CLS]", "cat", "dog", "cat", "dog", "cat", "dog", "[SEP]"]


def test_tokenize_takes_no_more_than_a_second_is_enough_for(tokenizer: PromptTokenizer) -> None:
    with pytest.raises(BadRequest, match="has 1000001 characters; at most 1000000 are tokenized"):
        tokenizer.tokenize(TokenizeRequest(prompt="c" * (MAX_PROMPT_CHARACTERS + 1)))


def test_detokenize_gives_the_text_back_with_its_special_tokens(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.detokenize([CLS, GOOD, CAT, SEP]) == "[CLS] good cat [SEP]"
    assert tokenizer.detokenize([]) == ""


def test_detokenize_refuses_ids_beyond_the_vocabulary(tokenizer: PromptTokenizer) -> None:
    with pytest.raises(BadRequest, match="Token id 4294967296 is out of vocabulary") as raised:
        tokenizer.detokenize([2**32])
    assert raised.value.param == "tokens"


def test_without_a_limit_the_files_own_truncation_counts(tmp_path: Path) -> None:
    tokenizer = PromptTokenizer(write_tokenizer(tmp_path, max_length=5))
    assert tokenizer.max_length == 5
    assert tokenizer.vocabulary_size == len(WORDS)


def test_a_tokenizer_without_any_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: says nothing about the longest input; give --max-length"):
        PromptTokenizer(write_tokenizer(tmp_path, max_length=None))


def test_a_limit_must_leave_room_beside_the_special_tokens(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a limit of 2 tokens has no room beside 2 special ones"):
        PromptTokenizer(write_tokenizer(tmp_path), 2)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json: not a tokenizer that can be read: "):
        PromptTokenizer(file, 6)


def test_a_tokenizer_without_words_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    Tokenizer(WordLevel({}, unk_token="[UNK]")).save(str(file))
    with pytest.raises(ModelError, match=r"tokenizer\.json: has no vocabulary"):
        PromptTokenizer(file, 6)
