import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.core.report import EngineInfo, Measurement, Report, Verdict
from wherry.proof.choose import Candidate, Constraints, choose
from wherry.proof.compare import tolerance_for


def candidate(target, p50, size=1_000_000, drop=0.0, p90=None):
    engine = EngineInfo(engine="e", version="1", device="cpu")
    measurement = Measurement(
        variant="d" * 64,
        target=target,
        machine="m",
        batch=1,
        samples=100,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=None,
        mean_ms=p50,
        ci95_ms=(p50, p50),
        throughput_per_s=1.0,
        load_ms=1.0,
        memory_mb=1.0,
        size_bytes=size,
        engine=engine,
        steady=True,
        at="t",
    )
    return Candidate(report=report(target, drop=drop), measurement=measurement)


def report(target, drop=0.0, verdict=Verdict.PASS, reasons=()):
    return Report(
        variant="d" * 64,
        target=target,
        golden="g",
        where="build",
        verdict=verdict,
        reasons=reasons,
        samples=1,
        outputs=(),
        metrics={"agreement": 1.0, "accuracy": 0.9 - drop, "reference_accuracy": 0.9},
        quality="accuracy",
        tolerance=tolerance_for("fp32"),
        engine=None,
        not_covered=(),
        seconds=0.0,
        at="t",
    )


def test_the_fastest_wins_and_the_others_know_why():
    bad = report("bad", verdict=Verdict.VACUOUS, reasons=("x",))
    choice = choose([candidate("slow", 3.0), candidate("fast", 1.0)], [bad])
    assert choice.target == "fast"
    reasons = {w.target: w.reason for w in choice.why_nots}
    assert reasons == {"slow": "3.00x the time of fast", "bad": "failed its proof: x"}
    assert choice.pareto == ("fast",)


def test_within_noise_the_more_accurate_then_the_smaller_wins():
    close = [candidate("a", 1.0, drop=0.02), candidate("b", 1.01), candidate("c", 1.005, size=2_000_000)]
    choice = choose(close)
    assert choice.target == "b"
    reasons = {w.target: w.reason for w in choice.why_nots}
    assert "loses 0.0200 more quality" in reasons["a"]
    assert "larger" in reasons["c"]
    assert "equal" in choose([candidate("x", 1.0), candidate("y", 1.001)]).why_nots[0].reason


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Constraints(max_p90_ms=0.5), "ms is above"),
        (Constraints(max_size_mb=0.5), "MB is above"),
        (Constraints(max_quality_drop=0.01), "it loses"),
    ],
)
def test_constraints(limits, word):
    choice = choose([candidate("a", 1.0, drop=0.05, p90=2.0)], constraints=limits)
    assert choice.target is None
    assert word in choice.why_nots[0].reason
    assert choose([candidate("b", 0.1, size=1000)], constraints=limits).target == "b"


def test_nothing_to_choose_from():
    choice = choose([])
    assert (choice.target, choice.measured, choice.pareto) == (None, False, ())


numbers = st.lists(st.tuples(st.floats(0.1, 100), st.integers(1, 10**9), st.floats(0, 0.5)), min_size=1, max_size=6)


@given(numbers)
def test_the_choice_is_never_dominated_beyond_noise(rows):
    candidates = [candidate(str(i), p50, size, drop) for i, (p50, size, drop) in enumerate(rows)]
    choice = choose(candidates)
    won = next(c for c in candidates if c.target == choice.target)
    assert won.measurement.p50_ms <= min(c.measurement.p50_ms for c in candidates) * 1.02
    assert {w.target for w in choice.why_nots} == {c.target for c in candidates} - {choice.target}
    assert choice.pareto
