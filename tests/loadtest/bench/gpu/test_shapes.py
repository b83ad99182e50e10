"""The files of a model without weights are what vLLM reads: a tokenizer that knows every token, and the sizes."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from loadtest import workload
from loadtest.bench.gpu.shapes import SHAPES, Shape


@pytest.fixture(params=SHAPES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Write the files of a shape."""
    SHAPES[request.param].write(tmp_path)
    return request.param, tmp_path


def test_prompts_have_exactly_the_tokens_that_are_asked_for(folder: tuple[str, Path]) -> None:
    tokenizer = Tokenizer.from_file(str(folder[1] / "tokenizer.json"))
    unknown = tokenizer.token_to_id("<unk>")
    for tokens in (1, 7, 256):
        ids = tokenizer.encode(workload.text(tokens, tokens)).ids
        assert len(ids) == tokens
        assert unknown not in ids


def test_each_token_of_a_response_has_a_text(folder: tuple[str, Path]) -> None:
    tokenizer = Tokenizer.from_file(str(folder[1] / "tokenizer.json"))
    size = SHAPES[folder[0]].vocab_size
    assert tokenizer.get_vocab_size() == size
    stream = DecodeStream()
    texts = [stream.step(tokenizer, token) for token in (0, 1, 1000, 1000, size - 1)]
    assert all(texts)
    assert texts[2] == texts[3]
    assert tokenizer.id_to_token(size - 1) is not None


def test_the_configuration_has_as_many_parameters_as_the_name_says(folder: tuple[str, Path]) -> None:
    config = json.loads((folder[1] / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"] + 2 * config["num_key_value_heads"]
    attention = hidden * config["head_dim"] * heads + hidden * hidden
    layer = attention + 3 * hidden * config["intermediate_size"]
    embeddings = hidden * config["vocab_size"] * (1 if config["tie_word_embeddings"] else 2)
    parameters = config["num_hidden_layers"] * layer + embeddings
    assert {"8b": 8e9, "135m": 135e6}[folder[0]] == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_a_profile_is_fitted_from_fits_into_the_model(shape: Shape) -> None:
    assert max(shape.prompts) < shape.max_model_len
    assert max(at_once for at_once, _ in shape.waves) <= shape.max_num_seqs
