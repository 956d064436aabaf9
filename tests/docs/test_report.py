"""Tables of benchmarks: made from results, and only from results."""

import pytest

from benchmarks import report

PAGE = (
    "before\n<!-- bench:speed -->\nstale\n<!-- /bench:speed -->\nafter\n<!-- bench:other -->\n<!-- /bench:other -->\n"
)
RESULT = {
    "name": "speed",
    "machine": {"processor": "A processor", "cores": 2, "python": "3.11.7"},
    "figures": {
        "requests_per_second": {"median": 2000.0, "p5": 1900.0, "p95": 2100.0, "n": 9},
        "added": {"p50_ms": 0.31},
    },
    "peer": {"name": "somebody"},
    "holds": {"quick enough": True, "exact": False},
}


def test_a_table_says_figures_spread_claims_machine_and_peer():
    page = report.rewrite(PAGE, {"speed": RESULT})
    assert "| requests per second | 2,000 (1,900 to 2,100) |" in page
    assert "| added p50 ms | 0.31 |" in page
    assert "- ✓ quick enough" in page
    assert "- ✗ does not hold: exact" in page
    assert "Measured on A processor, 2 cores, Python 3.11.7. Peer: somebody, in the same run." in page
    assert "stale" not in page


def test_rows_chosen_for_people_compare_with_the_peer():
    rows = [{"what": "requests/s", "ours": 2000.0, "peer": 152, "ratio": 13.158}, {"what": "only ours", "ours": 3}]
    page = report.rewrite(PAGE, {"speed": {**RESULT, "table": rows}})
    assert "| requests/s | 2,000 | 152 | 13.2× |" in page
    assert "| only ours | 3 | – | – |" in page


def test_what_was_not_measured_has_no_table_and_the_rest_of_the_page_stays():
    page = report.rewrite(PAGE, {})
    assert "stale" not in page
    assert "<!-- bench:other -->\n<!-- /bench:other -->" in report.rewrite(PAGE, {"speed": RESULT})
    assert page.startswith("before\n")
    assert "\nafter\n" in page


def test_rewriting_twice_changes_nothing():
    once = report.rewrite(PAGE, {"speed": RESULT})
    assert report.rewrite(once, {"speed": RESULT}) == once


@pytest.mark.parametrize(
    ("value", "text"), [(0.000123, "0.000123"), (12.345, "12.3"), (1234567, "1,234,567"), (True, "True"), (None, "–")]
)
def test_figures_have_about_three_digits(value, text):
    assert report.number(value) == text
