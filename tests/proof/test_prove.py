from dataclasses import replace

import numpy as np
import pytest

from wherry.core.errors import BadInputError, DigestMismatchError, ProofRefusedError
from wherry.core.model import TensorSpec
from wherry.core.report import Tolerance, Verdict
from wherry.proof.golden import GoldenSet
from wherry.proof.job import MeasureJob, ProofJob, measure_footprint, measure_variants, prove_release
from wherry.proof.prove import accept, crashed, prove


def test_an_honest_variant_passes_with_its_numbers(subject):
    proof = prove(subject(), where="build")
    report = proof.report
    assert report.verdict is Verdict.PASS
    assert report.reasons == ()
    assert proof.proven is not None
    assert proof.proven.report is report
    assert report.samples == 100
    assert report.outputs[0].max_abs < 1e-5
    assert report.metrics["top1_agreement"] == 1.0
    assert report.metrics["accuracy"] == 1.0
    assert report.engine is not None
    assert report.engine.engine == "linear"
    assert any("batch" in gap for gap in report.not_covered)


def test_a_fixed_batch_is_run_in_slices(subject):
    report = prove(subject(batch=7), where="device").report
    assert report.passed
    assert not any("sizes of batch" in gap for gap in report.not_covered)


def test_small_noise_fails_fp32_and_passes_int8(subject):
    def noisy(w):
        return w + np.random.default_rng(0).normal(scale=0.002, size=w.shape)

    refused = prove(subject(noisy), where="build")
    assert refused.report.verdict is Verdict.OUTPUT_MISMATCH
    assert refused.proven is None
    assert "largest error" in " ".join(refused.report.reasons)
    assert prove(subject(noisy, precision="int8"), where="build").report.passed


def test_swapped_classes_are_found_at_any_precision(subject):
    report = prove(subject(lambda w: w[:, ::-1], precision="int8"), where="build").report
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert "answers agree on" in " ".join(report.reasons)


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [("constant", Verdict.VACUOUS), ("nan", Verdict.VACUOUS), ("crash", Verdict.RUN_FAIL), ("wide", Verdict.RUN_FAIL)],
)
def test_misbehaviour_is_a_verdict(subject, behaviour, verdict):
    report = prove(subject(behaviour=behaviour), where="build").report
    assert report.verdict is verdict
    assert len(report.reasons) == 1
    assert "\n" not in report.reasons[0]


def test_a_file_that_cannot_be_opened_fails_to_load(subject, tmp_path):
    whole = subject()
    (tmp_path / "model.npz").write_bytes(b"not a model")
    assert prove(whole, where="build").report.verdict is Verdict.LOAD_FAIL
    assert prove(replace(whole, main=tmp_path / "gone"), where="build").report.verdict is Verdict.LOAD_FAIL


def test_unknown_engine_fails_to_load(subject):
    whole = subject()
    report = prove(replace(whole, variant=replace(whole.variant, engine="none")), where="build").report
    assert report.verdict is Verdict.LOAD_FAIL


def test_references_that_prove_nothing_are_refused(subject, golden):
    same = GoldenSet(raw=golden.raw, references={"logits": np.ones_like(golden.references["logits"])})
    assert prove(subject(golden=same), where="build").report.verdict is Verdict.VACUOUS
    one_class = golden.references["logits"].copy()
    one_class[:, 1] += 1000
    lopsided = GoldenSet(raw=golden.raw, references={"logits": one_class})
    report = prove(subject(golden=lopsided), where="build").report
    assert report.verdict is Verdict.VACUOUS
    assert "same class" in report.reasons[0]


def test_a_reference_that_is_missing_or_misshapen(subject, golden, spec):
    nothing = GoldenSet(raw=golden.raw, references={"other": golden.references["logits"]})
    report = prove(subject(golden=nothing), where="build").report
    assert (report.verdict, report.samples) == (Verdict.SHAPE_MISMATCH, 100)
    short = GoldenSet(raw=golden.raw, references={"logits": golden.references["logits"][:, :2]})
    assert prove(subject(golden=short), where="build").report.verdict is Verdict.SHAPE_MISMATCH


def test_raw_inputs_that_do_not_fit_the_network(subject, spec):
    wrong = replace(spec, inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 5, 5)),))
    assert prove(subject(spec=wrong), where="build").report.verdict is Verdict.SHAPE_MISMATCH


def test_the_metric_may_not_drop(subject, golden):
    logits = golden.references["logits"]
    close = logits.copy()
    order = np.argsort(-close, axis=1)
    rows = np.arange(len(close))
    close[rows, order[:, 1]] = close[rows, order[:, 0]] - 1e-6
    flipped = GoldenSet(raw=golden.raw, references={"logits": logits}, labels=order[:, 0].astype(np.int64))
    strict = Tolerance(min_cosine=0.0, max_abs=None, min_agreement=0.0, max_metric_drop=0.0)
    report = prove(subject(lambda w: w[:, ::-1], golden=flipped), where="build", tolerance=strict).report
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert "accuracy fell" in report.reasons[0]
    assert report.tolerance == strict


def test_no_labels_is_written_down(subject, golden):
    bare = GoldenSet(raw=golden.raw, references=golden.references)
    report = prove(subject(golden=bare), where="build").report
    assert report.passed
    assert "accuracy" not in report.metrics
    assert any("no labels" in gap for gap in report.not_covered)


def test_only_the_right_passed_report_makes_a_proven_variant(subject):
    whole = subject()
    report = prove(whole, where="build").report
    assert accept(whole.variant, report).variant is whole.variant
    with pytest.raises(ProofRefusedError, match="another build"):
        accept(replace(whole.variant, batch=3), report)
    died = crashed(whole.variant, whole.golden_sha256, "killed by signal 9", where="device")
    with pytest.raises(ProofRefusedError, match="killed by signal 9"):
        accept(whole.variant, died)


def _job(whole, tmp_path, **fields):
    golden = tmp_path / "golden.npz"
    golden.write_bytes(whole.golden.to_bytes())
    job = ProofJob(
        variant=whole.variant,
        main=str(whole.main),
        spec=whole.spec,
        golden=str(golden),
        golden_sha256=whole.golden_sha256,
        where="device",
    )
    return replace(job, **fields)


def test_the_proof_as_a_job(subject, tmp_path):
    whole = subject()
    job = _job(whole, tmp_path)
    report = prove_release(replace(job, evaluation=job.golden, evaluation_sha256=job.golden_sha256))
    assert report.passed
    assert report.where == "device"
    assert report.metrics["accuracy_samples"] == 100
    with pytest.raises(DigestMismatchError):
        prove_release(replace(job, golden_sha256="0" * 64))
    with pytest.raises(BadInputError, match="cannot be read"):
        prove_release(replace(job, golden=str(tmp_path / "gone")))


def test_the_benchmark_as_a_job(subject, tmp_path):
    whole = subject()
    job = _job(whole, tmp_path)
    measure = MeasureJob(
        variants=(whole.variant, whole.variant),
        mains=(job.main, job.main),
        spec=job.spec,
        golden=job.golden,
        golden_sha256=job.golden_sha256,
        batches=(4, 101),
        seconds=0.05,
    )
    first, second, *large = measure_variants(measure)
    assert [one.batch for one in large] == [101, 101]  # the golden set has 100: examples are repeated
    assert first.batch == 4
    assert first.run == second.run != large[0].run
    assert first.samples == second.samples > 0
    assert first.ci95_ms[0] <= first.p50_ms <= first.ci95_ms[1]
    assert first.throughput_per_s == pytest.approx(4e3 / first.mean_ms)
    assert first.min_ms <= first.p50_ms <= first.p95_ms <= first.max_ms
    assert (first.latencies_ms[0], first.latencies_ms[-1]) == pytest.approx((first.min_ms, first.max_ms), abs=1e-3)
    assert first.stages.end_to_end_ms > first.stages.infer_ms > 0
    alone = measure_footprint(replace(measure, variants=(whole.variant,), mains=(job.main,)))
    assert alone.peak_mb > alone.growth_mb >= 0
    seen = measure_variants(replace(measure, footprints=(alone, alone), batches=(1,)))[0]
    assert (seen.load_ms, seen.peak_memory_mb) == (alone.load_ms, alone.peak_mb)
    with pytest.raises(BadInputError, match="cannot be measured"):
        replace(measure, batches=(0,))
