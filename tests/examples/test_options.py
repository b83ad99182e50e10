from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from examples.options import address, positive, web_address, whole


def test_what_is_right_is_taken() -> None:
    assert address("127.0.0.1:0") == "127.0.0.1:0"
    assert positive("0.5") == 0.5
    assert whole("12") == 12
    assert web_address("https://chat.example.com/hook") == "https://chat.example.com/hook"


@pytest.mark.parametrize(
    ("check", "text", "said"),
    [
        (address, "9201", "expected HOST:PORT, not '9201'"),
        (address, ":9201", "expected HOST:PORT"),
        (address, "localhost:99999", "expected HOST:PORT"),
        (positive, "0", "expected a number above 0, not '0'"),
        (positive, "soon", "expected a number above 0, not 'soon'"),
        (positive, "nan", "expected a number above 0"),
        (positive, "inf", "expected a number above 0"),
        (whole, "0", "expected a whole number from 1 on, not '0'"),
        (whole, "1.5", "expected a whole number from 1 on"),
        (web_address, "chat.example.com/hook", "expected http://HOST/PATH or https://HOST/PATH"),
        (web_address, "http://a:b/", "expected http://HOST/PATH or https://HOST/PATH"),
        (web_address, "https:///hook", "expected http://HOST/PATH or https://HOST/PATH"),
    ],
)
def test_what_is_wrong_is_said(check: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(ArgumentTypeError, match=said):
        check(text)
