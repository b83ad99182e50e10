"""vLLM's errors, byte for byte."""

from loadtest.simulator.errors import EngineError, phrase


def test_an_error_as_vllm_writes_it() -> None:
    error = EngineError("too long", param="prompt")
    assert error.encode() == b'{"error":{"message":"too long","type":"BadRequestError","param":"prompt","code":400}}'


def test_the_same_for_anthropics_clients() -> None:
    error = EngineError("gone", 404)
    assert error.encode_for_messages() == b'{"type":"error","error":{"type":"NotFoundError","message":"gone"}}'


def test_a_full_queue() -> None:
    error = EngineError.of_status(503)
    assert error.kind == "Service Unavailable"
    assert "cannot accept new requests" in error.message


def test_a_status_without_words_of_its_own_has_those_of_http() -> None:
    assert EngineError.of_status(429).message == "Too Many Requests"
    assert phrase(599) == "Unknown"
