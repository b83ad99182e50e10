"""Items and choices: what is read, and how a bad file is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.recommendation.catalogue import QUESTIONS, CatalogueError, Choice, Item, read_choices, read_items

ITEMS = [Item("a", "Where is my card?"), Item("b", "What is the weather?")]


def test_the_questions_that_come_with_it_have_intents_and_domains() -> None:
    items = read_items(QUESTIONS)
    assert len(items) == len({item.text for item in items}) == 1200
    assert len({item.intent for item in items}) == 120
    assert len({item.domain for item in items}) == 8


def test_choices_come_in_order_of_time(tmp_path: Path) -> None:
    file = tmp_path / "choices.csv"
    file.write_text("person,item,day\nada,b,2.5\nada,a,1\n")
    assert read_choices(file, ITEMS) == [Choice("ada", 0, 1.0), Choice("ada", 1, 2.5)]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "items.csv:1: expected the columns id,text; id is missing"),
        ("id,name\n1,x\n", "items.csv:1: expected the columns id,text; text is missing"),
        ("id,text\n", "items.csv: has no items; expected a line for each below the columns' names, id,text"),
        ("id,text\n1,x\n2, \n", "items.csv:3: text: is empty"),
        ("id,text\n1\n", "items.csv:2: text: is empty"),
        ("id,text\n1,x\n1,y\n", "items.csv:3: id: '1' is there already; each item has one of its own"),
    ],
)
def test_bad_items_are_told_by_line(tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "items.csv"
    file.write_text(written)
    with pytest.raises(CatalogueError) as caught:
        read_items(file)
    assert str(caught.value) == f"{tmp_path}/{said}"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("person,item,day\nada,c,1\n", "choices.csv:2: item: there is no item 'c'"),
        ("person,item,day\nada,a,monday\n", "choices.csv:2: day: expected a number, not 'monday'"),
        ("person,item,day\n,a,1\n", "choices.csv:2: person: is empty"),
    ],
)
def test_bad_choices_are_told_by_line(tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "choices.csv"
    file.write_text(written)
    with pytest.raises(CatalogueError) as caught:
        read_choices(file, ITEMS)
    assert str(caught.value) == f"{tmp_path}/{said}"


def test_a_file_of_a_spreadsheet_has_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("\ufeffid,text\na,How?\n", encoding="utf-8")
    assert [item.id for item in read_items(file)] == ["a"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"items.csv: cannot be read: .*No such file"):
        read_items(tmp_path / "items.csv")
