"""Shapes tell structure from values."""

from tests.kit.shapes import differences, shape, stream_shape


def test_values_become_the_names_of_their_types() -> None:
    value = {"a": 1, "b": 1.5, "c": "x", "d": None, "e": True, "f": [], "g": {"h": [1, 2]}}
    assert shape(value) == {
        "a": "number",
        "b": "number",
        "c": "string",
        "d": "null",
        "e": "boolean",
        "f": [],
        "g": {"h": ["number"]},
    }


def test_an_array_has_the_different_shapes_of_its_elements() -> None:
    assert shape([1, 2, "a", {"b": 1}, {"b": 2}]) == ["number", "string", {"b": "number"}]


def test_neighbouring_events_of_the_same_shape_count_once() -> None:
    events = [b'data: {"a":1}', b'data: {"a":2}', b": comment", b'event: x\ndata: {"a":3}', b"data: [DONE]"]
    assert stream_shape(events) == [
        {"event": "", "data": {"a": "number"}},
        {"event": "x", "data": {"a": "number"}},
        {"event": "", "data": "[DONE]"},
    ]


def test_no_difference_between_equal_shapes() -> None:
    assert differences(shape({"a": [1, {"b": 2}]}), shape({"a": [5, {"b": 6}]})) == []


def test_each_difference_has_its_place() -> None:
    left, right = shape({"a": 1, "b": [{"c": None}], "d": 1}), shape({"a": "1", "b": [{"c": 1}], "e": 1})
    assert differences(left, right) == [
        "$.a: 'number' is not 'string'",
        "$.b[0].c: 'null' is not 'number'",
        "$.d: only left",
        "$.e: only right",
    ]


def test_arrays_of_different_shapes_differ_as_a_whole() -> None:
    assert differences(shape([1, "a"]), shape([1])) == ["$: ['number', 'string'] is not ['number']"]
