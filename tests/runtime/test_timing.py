import numpy as np
import pytest

from wherry.runtime.timing import closed_loop, median_interval, noise_band, percentile, quantiles, summarise, warm_up


def test_the_interval_holds_the_median():
    times = np.random.default_rng(0).lognormal(size=2000)
    low, high = median_interval(times)
    assert low <= float(np.median(times)) <= high
    assert high - low < 0.5


@pytest.mark.parametrize(("rank", "least"), [(90, 50), (95, 100), (99, 500)])
def test_a_percentile_needs_five_samples_beyond_it(rank, least):
    times = np.arange(float(least))
    assert percentile(times, rank) == float(np.percentile(times, rank))
    assert percentile(times[1:], rank) is None


def test_no_call_is_left_out():
    times = np.array([1.0] * 99 + [1000.0])
    timing = summarise(times, batch=2, steady=True)
    assert (timing.median_ms, timing.max_ms, timing.samples) == (1.0, 1000.0, 100)
    assert timing.mean_ms == pytest.approx(10.99)
    assert timing.throughput_per_s == pytest.approx(2e3 / 10.99)


def test_a_series_that_drifts_has_a_wide_band_and_a_still_one_has_none():
    assert noise_band(np.full(100, 3.0)) == 0.0
    assert noise_band(np.linspace(1.0, 2.0, 100)) == pytest.approx(0.5 / 1.5, rel=0.05)
    disturbed = np.tile(np.repeat([1.0, 1.2], 10), 10)  # the same in both halves, other in every second block
    assert noise_band(disturbed) == pytest.approx(0.2 / 1.1)
    assert noise_band(np.ones(19)) is None


def test_quantiles_keep_the_ends():
    times = np.random.default_rng(0).lognormal(size=5000)
    kept = quantiles(times)
    assert len(kept) == 400
    assert kept == tuple(sorted(kept))
    assert (kept[0], kept[-1]) == (round(times.min(), 3), round(times.max(), 3))
    assert quantiles(np.array([2.0, 1.0])) == (1.0, 2.0)
    assert quantiles(np.array([0.00123456])) == (0.001235,)


def test_a_loop_goes_on_until_a_p95_is_supported():
    calls = []
    timing = closed_loop(lambda: calls.append(1), batch=3, seconds=0.0001)
    assert timing.samples >= 100
    assert timing.p95_ms is not None
    assert timing.batch == 3
    assert len(calls) > timing.samples  # it was warmed up


def test_what_never_settles_is_said_to(monkeypatch):
    seconds = iter(np.cumsum(1.3 ** np.arange(200)))
    monkeypatch.setattr("wherry.runtime.timing.time.perf_counter", lambda: next(seconds))
    assert warm_up(lambda: None) is False
