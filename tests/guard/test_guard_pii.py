import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.guard import pii


def found(text, *kinds):
    return [(span.kind, text[span.start : span.end]) for span in pii.find(text, kinds or pii.KINDS)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to ann.lee+x@mail.example.org today", "EMAIL", "ann.lee+x@mail.example.org"),
        ("pay DE89 3704 0044 0532 0130 00 now", "IBAN", "DE89 3704 0044 0532 0130 00"),
        ("card 4111 1111 1111 1111.", "CARD", "4111 1111 1111 1111"),
        ("from 192.168.10.7 it came", "IP", "192.168.10.7"),
        ("from 2001:db8::8a2e:370:7334 it came", "IP", "2001:db8::8a2e:370:7334"),
        ("ssn 078-05-1120", "SSN", "078-05-1120"),
        ("call +49 30 901820 please", "PHONE", "+49 30 901820"),
        ("call (212) 555-0142 please", "PHONE", "(212) 555-0142"),
        ("My name is Ines Carvalho.", "PERSON", "Ines Carvalho"),
        ("Ask Dr. Okafor about it", "PERSON", "Okafor"),
        ("at 12 Baker Street, London", "ADDRESS", "12 Baker Street"),
        ("my zip code is 35350", "POSTCODE", "35350"),
        ("passport number is X1234567", "LICENCE", "X1234567"),
    ],
)
def test_what_has_a_form_is_found_and_named(text, kind, value):
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",  # wrong check digit
        "pay DE89370400440532013001",  # wrong check digits
        "version 1.2.3.456 of 300.1.1.1",
        "ratio 12:30, ISBN 978-3-16-148410-0, in 2024-05-01",
        "The Quick Start is below. Press Start.",
    ],
)
def test_what_only_looks_like_it_is_left(text):
    sure = [kind for kind in pii.KINDS if kind not in ("PERSON", "ADDRESS")]
    assert found(text, *sure) == []


@given(st.text())
def test_any_text_has_spans_in_order_that_do_not_overlap(text):
    spans = pii.find(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(one.end <= two.start for one, two in itertools.pairwise(spans))


@pytest.mark.parametrize("piece", ["1 ", "a@", "A. ", "Aa ", "1:", "St. ", "+1-", "www."])
def test_time_grows_no_faster_than_the_text(piece):
    def seconds(count):
        began = time.process_time()
        pii.find(piece * count)
        return time.process_time() - began

    seconds(100)
    assert seconds(16_000) < 12 * max(seconds(4_000), 0.01)
