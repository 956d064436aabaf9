import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from aigrid.engines.openvino_text import ByteStream, Scanner, WindowStream


def scan(scanner, pieces):
    text, reasoning, calls = "", "", []
    for number, piece in enumerate(pieces):
        got = scanner.push(piece, last=number == len(pieces) - 1)
        text, reasoning, calls = text + got.text, reasoning + got.reasoning, calls + got.calls
        if got.stop is not None:
            return text, reasoning, calls, got.stop
    return text, reasoning, calls, None


def cut(text, places):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


class Letters:
    """A tokenizer whose tokens are single bytes."""

    def decode(self, tokens, skip_special_tokens=True):
        return bytes(tokens).decode(errors="replace")


@given(st.text(), st.lists(st.integers(0, 200)))
def test_text_never_holds_half_a_character_and_loses_none(text, places):
    data = list(text.encode())
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    for stream in (ByteStream([bytes([byte]) for byte in range(256)]), WindowStream(Letters())):
        got = [stream.push(data[a:b]) for a, b in itertools.pairwise(edges)]
        got.append(stream.finish())
        assert "".join(got) == text
        assert "�" in text or not any("�" in piece for piece in got)


def test_half_a_character_at_the_end_is_shown_as_unknown():
    for stream in (ByteStream([bytes([byte]) for byte in range(256)]), WindowStream(Letters())):
        shown = stream.push(list("né".encode())[:2])
        assert "�" not in shown
        assert shown + stream.finish() == "n�"


@given(
    st.text("abc", max_size=40),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 60)),
)
def test_a_stop_string_ends_the_text_wherever_tokens_are_cut(text, stops, places):
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    got, _, _, stop = scan(Scanner(stops), [*text, ""])
    assert stop in (stops if found else [None])
    assert got == (text[: min(found)[1]] if found else text)  # by characters, the stop complete first decides
    whole, _, _, also = scan(Scanner(stops), [*cut(text, places), ""])
    assert (also is None) == (stop is None)
    assert text.startswith(whole)
    assert not any(stop in whole for stop in stops)


def test_only_what_may_become_a_stop_string_is_held_back():
    scanner = Scanner(["END"])
    assert scanner.push("one E").text == "one "
    assert scanner.push("N").text == ""
    assert scanner.push("X two").text == "ENX two"
    assert scanner.push(" EN", last=True).text == " EN"


@given(st.lists(st.integers(0, 200)))
def test_a_tool_call_is_read_wherever_tokens_are_cut(places):
    arguments = '{"city": "Paris", "deep": {"list": [1, {}]}, "text": "}} </tool"}'
    whole = f'Let me see.\n<tool_call>\n{{"name": "get_weather", "arguments": {arguments}}}\n</tool_call>'
    text, _, calls, _ = scan(Scanner([], tools=True), cut(whole, places))
    assert text.strip() == "Let me see."
    assert calls[0].name == "get_weather"
    assert calls[0].id.startswith("call_")
    assert {call.index for call in calls} == {0}
    assert json.loads("".join(call.arguments for call in calls)) == json.loads(arguments)


@given(st.lists(st.integers(0, 80)))
def test_what_is_tagged_as_a_call_and_is_none_stays_text(places):
    whole = "<tool_call>\nweather(Paris)\n</tool_call>"
    text, _, calls, _ = scan(Scanner([], tools=True), cut(whole, places))
    assert (text, calls) == (whole, [])


@given(st.lists(st.integers(0, 200)))
def test_a_value_that_holds_the_end_tag_does_not_end_the_call(places):
    arguments = '{"html": "}}\\"</tool_call> and \\\\", "more": ["</tool_call>"]}'
    whole = f'<tool_call>\n{{"name": "write", "arguments": {arguments}}}\n</tool_call> Done.'
    text, _, calls, _ = scan(Scanner([], tools=True), cut(whole, places))
    assert json.loads("".join(call.arguments for call in calls)) == json.loads(arguments)
    assert text == " Done."


@given(st.lists(st.integers(0, 200)))
def test_a_string_that_a_model_left_open_ends_with_its_line(places):
    whole = '<tool_call>\n{"name": "f", "arguments": {"city": "Par}}\n</tool_call>\nThat was all.'
    text, _, calls, _ = scan(Scanner([], tools=True), cut(whole, places))
    assert (text.strip(), calls[0].name) == ("That was all.", "f")


def test_arguments_stream_before_the_call_is_complete():
    scanner = Scanner([], tools=True)
    scanner.push('<tool_call>\n{"name": "f", "arguments": {"a"')
    assert "".join(call.arguments for call in scanner.push(': "xyz').calls) == ': "xyz'


@given(st.lists(st.integers(0, 80)))
def test_reasoning_is_told_from_the_answer_wherever_tokens_are_cut(places):
    text, reasoning, _, _ = scan(Scanner([], think=True), cut("<think>\nTwo and two.\n</think>\n\nFour.", places))
    assert reasoning.strip() == "Two and two."
    assert text.strip() == "Four."
