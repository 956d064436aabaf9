from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.clock import DAY, SECOND, day_start, iso, mono_ns, month_start, now_ns

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


def ns_of(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


@given(moments)
def test_a_day_starts_at_midnight_utc(moment):
    assert day_start(ns_of(moment)) == ns_of(moment.replace(hour=0, minute=0, second=0, microsecond=0))


@given(moments)
def test_a_month_starts_on_its_first_day(moment):
    assert month_start(ns_of(moment)) == ns_of(moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0))


@given(moments)
def test_iso_reads_back_to_the_millisecond(moment):
    written = iso(ns_of(moment))
    assert written.endswith("Z")
    assert datetime.fromisoformat(written) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_clocks_count_nanoseconds():
    assert DAY == 86_400 * SECOND
    assert abs(now_ns() - datetime.now(UTC).timestamp() * SECOND) < SECOND
    assert mono_ns() <= mono_ns()
