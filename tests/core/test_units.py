import pytest

from wherry.core.errors import UsageError
from wherry.core.units import milliseconds, points, size_bytes


@pytest.mark.parametrize(("text", "value"), [("30ms", 30), ("0.03s", 30), (".5 ms", 0.5), ("250us", 0.25)])
def test_times(text, value):
    assert milliseconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("12MB", 12e6), ("12mb", 12e6), ("12MiB", 12 * 2**20), ("1.5 GB", 1.5e9), ("800B", 800)]
)
def test_sizes(text, value):
    assert size_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("1", 0.01), ("0.5", 0.005), ("2%", 0.02), ("1pt", 0.01), ("0", 0.0)])
def test_points(text, value):
    assert points(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["30", "ms", "-3ms", "3 m s", "", "3MB", "1e3ms"])
def test_a_time_needs_its_unit(text):
    with pytest.raises(UsageError, match="is not a time") as refused:
        milliseconds(text)
    assert "30ms" in refused.value.next_step


@pytest.mark.parametrize(("read", "text"), [(size_bytes, "12"), (size_bytes, "3ms"), (points, "1MB"), (points, "x")])
def test_other_units_are_refused(read, text):
    with pytest.raises(UsageError):
        read(text)
