"""Who may give commands: scripts on this machine, others with the token, and never a page of somebody else's."""

from __future__ import annotations

import pytest

from gateway.control.access import Access, Asker, new_token, token_of

TOKEN = "a-token-that-nobody-knows"
ACCESS = Access(TOKEN)
HERE = {"host": "127.0.0.1:9000"}
OWN_PAGE = {**HERE, "origin": "http://127.0.0.1:9000", "sec-fetch-site": "same-origin"}
RIGHT, WRONG = {"authorization": f"Bearer {TOKEN}"}, {"authorization": "Bearer another-token-of-somebody"}


def command(headers: dict[str, str], peer: str = "127.0.0.1") -> str | None:
    refusal = ACCESS.refuses_command(Asker("POST", headers, peer))
    return None if refusal is None else f"{refusal.status} {refusal.code}"


def page(headers: dict[str, str], peer: str = "127.0.0.1") -> str | None:
    refusal = ACCESS.refuses_page(Asker("GET", headers, peer))
    return None if refusal is None else f"{refusal.status} {refusal.code}"


@pytest.mark.parametrize(
    ("headers", "peer", "answer"),
    [
        (HERE, "127.0.0.1", None),
        ({"host": "localhost:9000"}, "::1", None),
        ({"host": "[::1]:9000"}, "::ffff:127.0.0.1", None),
        (HERE | RIGHT, "127.0.0.1", None),
        (HERE | WRONG, "127.0.0.1", "401 wrong_token"),
        (HERE | {"authorization": "Bearer "}, "127.0.0.1", "401 wrong_token"),
        (HERE | {"authorization": "Bearer gr\u00fc\u00dfe"}, "127.0.0.1", "401 wrong_token"),
        (HERE | {"authorization": "Bearer \udcff"}, "127.0.0.1", "401 wrong_token"),
        # Another machine, or another one by way of a proxy here.
        ({"host": "10.0.0.1:9000"}, "10.0.0.7", "401 token_required"),
        ({"host": "10.0.0.1:9000"} | RIGHT, "10.0.0.7", None),
        (HERE | {"x-forwarded-for": "10.0.0.7"}, "127.0.0.1", "401 token_required"),
        (HERE | {"forwarded": "for=10.0.0.7"}, "127.0.0.1", "401 token_required"),
        (HERE, "", "401 token_required"),
        # The page itself, in somebody's browser.
        (OWN_PAGE, "127.0.0.1", "401 token_required"),
        (OWN_PAGE | RIGHT, "127.0.0.1", None),
        (HERE | {"sec-fetch-site": "none"}, "127.0.0.1", "401 token_required"),
        # Other pages: by fetch, by a form, from a sandbox, of another port, of an old browser.
        (OWN_PAGE | RIGHT | {"sec-fetch-site": "cross-site"}, "127.0.0.1", "403 other_origin"),
        (OWN_PAGE | RIGHT | {"sec-fetch-site": "same-site"}, "127.0.0.1", "403 other_origin"),
        (HERE | {"origin": "http://127.0.0.1:9001"}, "127.0.0.1", "403 other_origin"),
        (HERE | {"origin": "https://evil.example"}, "127.0.0.1", "403 other_origin"),
        (HERE | {"origin": "null"} | RIGHT, "127.0.0.1", "403 other_origin"),
        (HERE | {"origin": "http://["}, "127.0.0.1", "403 other_origin"),
        # A name that has been pointed here: its page is of this origin, and has no token; a script is no page.
        ({"host": "evil.example", "origin": "http://evil.example"}, "127.0.0.1", "401 token_required"),
        ({"host": "gateway.internal:9000"}, "127.0.0.1", None),
    ],
)
def test_who_may_give_commands(headers: dict[str, str], peer: str, answer: str | None) -> None:
    assert command(headers, peer) == answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_is_no_command(method: str) -> None:
    assert ACCESS.refuses_command(Asker(method, {"host": "prometheus.example"}, "10.0.0.7")) is None


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT"])
def test_everything_else_is(method: str) -> None:
    assert ACCESS.refuses_command(Asker(method, OWN_PAGE, "127.0.0.1")) is not None


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        (HERE, None),
        (OWN_PAGE, None),
        (OWN_PAGE | WRONG, "401 wrong_token"),
        ({"host": "10.0.0.1:9000"}, None),
        ({"host": "gateway.localhost:9000"}, None),
        ({"host": "[::1]:9000"}, None),
        ({}, "403 unknown_host"),
        ({"host": "["}, "403 unknown_host"),
        ({"host": "ops.example", "sec-fetch-site": "same-origin"}, "403 unknown_host"),
        ({"host": "ops.example", "sec-fetch-site": "same-origin"} | RIGHT, None),
        (HERE | {"sec-fetch-site": "cross-site"}, "403 other_origin"),
    ],
)
def test_who_may_see_what_the_page_shows(headers: dict[str, str], answer: str | None) -> None:
    assert page(headers, "10.0.0.7") == answer


def test_a_refusal_says_where_the_token_is() -> None:
    refusal = ACCESS.refuses_command(Asker("POST", OWN_PAGE, "127.0.0.1"))
    assert refusal is not None
    assert refusal.reason == "this needs the token, which is printed at the start, or is in HEADGATE_CONTROL_TOKEN"


def test_the_token_comes_from_the_environment() -> None:
    assert token_of({"HEADGATE_CONTROL_TOKEN": f" {TOKEN}\n"}) == TOKEN
    assert token_of({"HEADGATE_CONTROL_TOKEN": ""}) is None
    assert token_of({}) is None


@pytest.mark.parametrize("token", ["short", "with spaces between words", "grüße-an-alle-welt"])
def test_a_token_that_cannot_be_used_is_told_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="HEADGATE_CONTROL_TOKEN must be 16 or more visible ASCII") as raised:
        token_of({"HEADGATE_CONTROL_TOKEN": token})
    assert token not in str(raised.value)


def test_tokens_that_are_made_differ_and_are_long_enough() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(token_of({"HEADGATE_CONTROL_TOKEN": each}) == each for each in made)


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(ACCESS)
