"""Keys open doors, wrong keys do not, and nobody gets to see one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from hashlib import sha256

import pytest

from gateway.core.errors import InvalidKey, TuningNotAllowed
from gateway.core.keys import ANYONE, Key, Keyring

ALICE = Key("alice", frozenset())
BOB = Key("bob", frozenset({"small"}))


@pytest.fixture
def ring() -> Keyring:
    return Keyring([(ALICE, sha256(b"alices-secret").hexdigest()), (BOB, sha256(b"bobs-secret").hexdigest().upper())])


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer alices-secret"}, ALICE),
        ({b"authorization": b"bearer  bobs-secret "}, BOB),
        ({b"x-api-key": b"bobs-secret"}, BOB),
        ({b"api-key": b" alices-secret"}, ALICE),
        ({b"authorization": b"Bearer placeholder", b"x-api-key": b"alices-secret"}, ALICE),
        ({b"authorization": b"Bearer alices-secret", b"x-api-key": b"placeholder"}, ALICE),
        ({b"authorization": b"Basic YTpi", b"x-api-key": b"bobs-secret"}, BOB),
        ({b"authorization": b"Bearer ", b"x-api-key": b"placeholder", b"api-key": b"bobs-secret"}, BOB),
        ({b"authorization": b"Bearer alices-secret", b"api-key": b"bobs-secret"}, ALICE),
    ],
)
def test_a_known_key_is_found(ring: Keyring, headers: dict[bytes, bytes], key: Key) -> None:
    assert ring.find(headers) is key


def test_a_key_is_a_group_by_itself_unless_it_has_another() -> None:
    assert (ALICE.group, ALICE.priority) == ("alice", 0)
    assert Key("carol", frozenset(), "team", -1).group == "team"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "No API key was given"),
        ({b"authorization": b"Bearer "}, "No API key was given"),
        ({b"authorization": b"Bearer"}, "No API key was given"),
        ({b"x-api-key": b""}, "No API key was given"),
        ({b"authorization": b"Basic YTpi"}, "must be 'Bearer '"),
        ({b"authorization": b"Bearer wrong"}, "not known here"),
        ({b"authorization": b"Bearer wrong", b"x-api-key": b"wrong too", b"api-key": b"no"}, "not known here"),
        ({b"authorization": b"Basic YTpi", b"x-api-key": b"wrong"}, "not known here"),
        ({b"authorization": b"alices-secret"}, "must be 'Bearer '"),
        ({b"authorization": b"Bearer " + sha256(b"alices-secret").hexdigest().encode()}, "not known here"),
        ({b"authorization": b"Bearer \xff\xfe"}, "not known here"),
    ],
)
def test_any_other_is_refused(ring: Keyring, headers: dict[bytes, bytes], message: str) -> None:
    with pytest.raises(InvalidKey, match=message) as refused:
        ring.find(headers)
    assert "secret" not in refused.value.message


def test_a_key_needs_the_right_to_tune_and_everyone_has_it_where_there_are_no_keys() -> None:
    ANYONE.check_tune()
    Key("alice", frozenset(), tune=True).check_tune()
    with pytest.raises(TuningNotAllowed, match="key 'alice' may not fine-tune models"):
        Key("alice", frozenset()).check_tune()


def test_an_empty_ring_lets_everyone_in() -> None:
    assert Keyring([]).find({b"authorization": b"Basic whatever"}) is ANYONE


def test_a_key_without_models_may_use_all_of_them() -> None:
    assert ALICE.may_use("large")


def test_a_key_with_models_may_use_only_those() -> None:
    assert BOB.may_use("small")
    assert not BOB.may_use("large")


def test_who_may_not_use_a_name_is_told_those_that_he_may() -> None:
    refusal = BOB.not_allowed("large")
    assert refusal.message == "The key 'bob' may not use a model 'large'; it may use: small."
    assert (refusal.status, refusal.param) == (403, "model")


def test_a_ring_shows_no_key_and_no_digest(ring: Keyring) -> None:
    assert repr(ring) == "<Keyring [2 keys]>"


def test_a_key_expires_when_its_day_begins_in_utc() -> None:
    key = Key("alice", frozenset(), expires=date(2030, 1, 1))
    assert key.expires_at == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert key.expired().status == 401
    assert "expired on 2030-01-01" in key.expired().message


def test_an_endpoint_that_a_key_may_not_use_is_refused_by_name() -> None:
    error = Key("alice", frozenset(), endpoints=frozenset({"/score", "/classify"})).not_allowed_at("/v1/embeddings")
    assert (error.status, error.code) == (403, "endpoint_not_allowed")
    assert error.message == "The key 'alice' may not use /v1/embeddings; it may use: /classify, /score."


def test_all_keys_of_a_ring_can_be_gone_through(ring: Keyring) -> None:
    assert list(ring) == [ALICE, BOB]
