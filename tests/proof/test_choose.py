from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.core.device import DeviceProfile
from wherry.core.report import EngineInfo, Measurement, Report, Stages, Verdict
from wherry.proof.choose import Candidate, Constraints, Where, choose
from wherry.proof.compare import tolerance_for


def candidate(target, p50, size=1_000_000, drop=0.0, p90=None, **changes):
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
    return Candidate(report=report(target, drop=drop), measurement=replace(measurement, **changes))


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
    assert choice.notes == ()
    assert choice.target == "fast"
    reasons = {w.target: w.reason for w in choice.why_nots}
    assert reasons == {"slow": "3.00x the time of fast", "bad": "failed its proof: x"}
    assert choice.pareto == ("fast",)


def test_within_noise_the_more_accurate_then_the_smaller_wins():
    close = [candidate("a", 1.0, drop=0.02), candidate("b", 1.01), candidate("c", 1.005, size=2_000_000)]
    choice = choose(close)
    assert choice.target == "b"
    reasons = {w.target: w.reason for w in choice.why_nots}
    assert "as fast as b within the noise of 2.0%, but it loses 2 points more" in reasons["a"]
    assert "larger" in reasons["c"]
    assert "equal" in choose([candidate("x", 1.0), candidate("y", 1.001)]).why_nots[0].reason


STAGES = Stages(prepare_ms=1, infer_ms=2, answer_ms=1, end_to_end_ms=5, calls=9)
SLOW = candidate("a", 1.0, drop=0.05, p90=2.0, p95_ms=3.0, stages=STAGES, peak_memory_mb=1000.0)


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Constraints(max_p50_ms=0.5), "p50 1 ms is above the limit of 0.5 ms"),
        (Constraints(max_p90_ms=0.5), "p90 2 ms is above"),
        (Constraints(max_p95_ms=2.9), "p95 3 ms is above"),
        (Constraints(max_p99_ms=9.0), "its p99 is not known: measure again"),
        (Constraints(max_end_to_end_ms=4.0), "whole call 5 ms is above"),
        (Constraints(min_fps=201), "200 fps is below the limit of 201"),
        (Constraints(max_size_mb=0.5), "size 1 MB is above"),
        (Constraints(max_memory_mb=1048.0), "peak memory 1.05e+03 MB is above the limit of 1048 MB"),
        (Constraints(max_quality_drop=0.01), "it loses 5 points, more than 1 points"),
        (Constraints(min_metrics={"accuracy": 0.9}), "accuracy 0.8500 is below 0.9"),
        (Constraints(min_metrics={"miou": 0.5}), "its proof has no miou"),
    ],
)
def test_constraints(limits, word):
    choice = choose([SLOW], constraints=limits)
    assert choice.target is None
    assert choice.why_nots[0].reason.startswith(word)


def test_what_keeps_to_all_of_them_is_chosen():
    limits = Constraints(
        max_p50_ms=1, max_p95_ms=3, max_end_to_end_ms=5, min_fps=200, max_size_mb=1, max_memory_mb=1049
    )
    assert choose([SLOW], constraints=limits).target == "a"
    unknown = choose([candidate("b", 1.0)], constraints=Constraints(min_fps=1, max_memory_mb=1))
    assert unknown.target is None
    assert "peak memory is not known" in unknown.why_nots[0].reason
    assert "an unknown number of fps" in unknown.why_nots[0].reason


def test_noise_decides_what_is_equally_fast():
    quiet = [candidate("a", 1.0, size=2000), candidate("b", 1.1, size=1000)]
    assert choose(quiet).target == "a"
    loud = [candidate("a", 1.0, size=2000, noise=0.15), candidate("b", 1.1, size=1000, noise=0.01)]
    choice = choose(loud)
    assert choice.target == "b"
    assert choice.why_nots[0].reason == "as fast as b within the noise of 15.0%, but larger"


def test_a_void_measurement_measures_nothing():
    choice = choose([candidate("a", 1.0, void="half of it ran on the CPU"), candidate("b", 9.0)])
    assert choice.target == "b"
    assert choice.why_nots[0].reason == "its measurement is void: half of it ran on the CPU"


def test_another_device():
    profile = DeviceProfile(os="linux", arch="aarch64", cpu="Pi", cores=4, memory_bytes=2**30, runtimes={"e": "1"})
    elsewhere = Where(machine="Pi", profile=profile)
    choice = choose([candidate("a", 1.0)], where=elsewhere)
    assert (choice.target, choice.measured) == ("a", False)
    assert choice.notes == ("Times and memory were measured on m and not on Pi.",)
    without = choose([candidate("a", 1.0)], where=replace(elsewhere, profile=replace(profile, runtimes={})))
    assert without.why_nots[0].reason == "the runtime e is not installed on that device"
    large = choose([candidate("a", 1.0, peak_memory_mb=1025.0)], where=elsewhere)
    assert large.why_nots[0].reason == "it needs 1025 MiB, and that device has 1024"
    assert choose([candidate("a", 1.0)], where=Where(machine="m")).measured
    assert not choose([candidate("a", 1.0)], where=Where(machine="other")).measured


def test_what_to_know_before_the_numbers_are_believed():
    choice = choose([candidate("a", 1.0, run="1"), candidate("b", 2.0, run="2", steady=False)])
    assert choice.notes == (
        "Not all variants were measured side by side in one run, so small differences may be none.",
        "b was measured without a steady state.",
    )


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
