"""The proof: golden set against a variant, fail-closed. One function, run by the build, the device and the server.

A pass means: the same raw inputs went through preprocessing and this engine, every output is within its tolerance of
the reference that the program gave in fp32, the task's answers agree, and the comparison was not vacuous. Anything
that goes wrong on the way is a verdict with a reason, never an exception and never a pass.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wherry.core.errors import EngineError, ProofRefusedError, WherryError
from wherry.core.model import ModelSpec
from wherry.core.report import EngineInfo, OutputError, Proven, Report, Rung, Tolerance, Verdict, Where
from wherry.core.variant import PRUNE, Variant
from wherry.proof.chunks import chunk_size
from wherry.proof.compare import OutputTally, scale_of, tolerance_for, vacuous, within
from wherry.proof.golden import GoldenSet
from wherry.proof.inputs import preprocessing_rung
from wherry.proof.interface import Tally, TaskMetric
from wherry.proof.tasks import task_metric
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array, Engine, EngineOptions, Tensors
from wherry.runtime.preprocess import prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be proven: a variant, where its main file lies, and what it should be."""

    variant: Variant
    main: Path
    spec: ModelSpec
    golden: GoldenSet
    golden_sha256: str
    evaluation: GoldenSet | None = None
    """More examples with labels, for the task's quality only; None uses the golden set's own labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The outcome: a report, and on a pass the variant as `Proven`."""

    report: Report
    proven: Proven | None


def crashed(variant: Variant, golden: str, reason: str, *, where: Where) -> Report:
    """Return the report of a proof whose process died or hung: a runtime that crashes has failed, not the run."""
    return Report(
        variant=variant.digest,
        target=variant.name,
        golden=golden,
        where=where,
        verdict=Verdict.RUN_FAIL,
        reasons=(reason,),
        samples=0,
        outputs=(),
        metrics={},
        tolerance=_tolerance(variant),
        engine=None,
        not_covered=("everything: the proof did not finish",),
        seconds=0.0,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _tolerance(variant: Variant) -> Tolerance:
    return tolerance_for(variant.target.precision, pruned=PRUNE in variant.target.options)


class _VerdictError(Exception):
    """Ends a proof with a verdict."""

    def __init__(self, verdict: Verdict, *reasons: str) -> None:
        super().__init__(reasons)
        self.verdict = verdict
        self.reasons = reasons


def prove(
    subject: Subject, *, where: Where, options: EngineOptions | None = None, tolerance: Tolerance | None = None
) -> Proof:
    """Run the golden set against a variant.

    Args:
        subject: what to prove.
        where: which of the three places runs it.
        options: device and threads; by default the CPU.
        tolerance: by default derived from the variant's precision.

    Returns:
        A proof. Its `proven` is None unless the verdict is a pass.
    """
    started = time.perf_counter()
    run = _Run(subject, tolerance or _tolerance(subject.variant), options or EngineOptions())
    verdict, reasons = run.verdict()
    report = Report(
        variant=subject.variant.digest,
        target=subject.variant.name,
        golden=subject.golden_sha256,
        where=where,
        verdict=verdict,
        reasons=reasons,
        samples=len(subject.golden),
        outputs=run.errors,
        metrics=run.metrics,
        tolerance=run.tolerance,
        engine=run.engine,
        not_covered=_not_covered(subject),
        seconds=time.perf_counter() - started,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        quality=run.quality,
        rungs=run.rungs,
    )
    return Proof(report=report, proven=accept(subject.variant, report) if report.passed else None)


def accept(variant: Variant, report: Report) -> Proven:
    """Return the variant as `Proven`: the one place where that word is given.

    Raises:
        ProofRefusedError: the report is about another variant, or its verdict is not a pass.
    """
    if report.variant != variant.digest:
        msg = f"The report is about another build of {variant.name}, so {variant.name} has no proof."
        raise ProofRefusedError(msg, next_step="Run `wherry prove` for this variant.")
    if not report.passed:
        msg = f"{variant.name} failed its proof ({report.verdict}): {'; '.join(report.reasons)}."
        raise ProofRefusedError(msg, next_step="Mend the export, or leave this target out.")
    return Proven(variant=variant, report=report)


class _Run:
    """One proof under way; numbers gathered before a failure stay in the report."""

    def __init__(self, subject: Subject, tolerance: Tolerance, options: EngineOptions) -> None:
        self.subject = subject
        self.tolerance = tolerance
        self.options = options
        self.task = task_metric(subject.spec.task)
        self.errors: tuple[OutputError, ...] = ()
        self.metrics: dict[str, float] = {}
        self.quality: str | None = None
        self.rungs: tuple[Rung, ...] = ()
        self.engine: EngineInfo | None = None

    def verdict(self) -> tuple[Verdict, tuple[str, ...]]:
        try:
            self._references_mean_something()
            self._examples_fit()
            with self._opened() as engine:
                self.engine = engine.info()
                self._inputs_are_the_recorded_ones()
                self._who_computes(engine)
                qualities = _Qualities(self.task, self.subject.spec)
                self._compare(engine, qualities)
                self._gate(engine, qualities)
        except _VerdictError as refusal:
            return refusal.verdict, refusal.reasons
        return Verdict.PASS, ()

    def _references_mean_something(self) -> None:
        golden, spec = self.subject.golden, self.subject.spec
        missing = [tensor.name for tensor in spec.outputs if tensor.name not in golden.references]
        if missing:
            raise _VerdictError(Verdict.SHAPE_MISMATCH, f"the golden set has no reference for {', '.join(missing)}")
        reasons = [vacuous(f"reference {name}", array) for name, array in golden.references.items()]
        reasons.append(None if np.any(golden.raw) else "every golden input is zero")
        if not any(reasons):  # a task reads numbers, so they must be some
            try:
                reasons.append(self.task.vacuous(golden.references, spec))
            except WherryError as error:
                raise _VerdictError(Verdict.SHAPE_MISMATCH, f"the references: {error.message}") from error
        found = [reason for reason in reasons if reason]
        if found:
            raise _VerdictError(Verdict.VACUOUS, *found)

    def _examples_fit(self) -> None:
        """Refuse labels that are none of the task, and classes that were called otherwise when they were recorded."""
        spec = self.subject.spec
        for examples in (self.subject.golden, self.subject.evaluation):
            if examples is None:
                continue
            if examples.class_names and spec.class_names and examples.class_names != spec.class_names:
                raise _VerdictError(Verdict.OUTPUT_MISMATCH, _other_names(spec.class_names, examples.class_names))
            reason = None if examples.labels is None else self.task.check_labels(examples.labels, spec)
            if reason:
                raise _VerdictError(Verdict.SHAPE_MISMATCH, f"the golden set's {reason}")

    def _opened(self) -> Engine:
        variant = self.subject.variant
        try:
            kind = engine_class(variant.engine)
            return kind(self.subject.main, self.subject.spec, batch=variant.batch, options=self.options)
        except WherryError as error:
            raise _VerdictError(Verdict.LOAD_FAIL, error.message) from error

    def _inputs_are_the_recorded_ones(self) -> None:
        rung = preprocessing_rung(self.subject.golden, self.subject.spec)
        if rung is None:
            return
        self.rungs = (rung,)
        if not rung.passed:
            raise _VerdictError(Verdict.OUTPUT_MISMATCH, f"preprocessing: {rung.reason}")

    def _who_computes(self, engine: Engine) -> None:
        try:
            self.engine = engine.executed(prepare(self.subject.golden.raw[:1], self.subject.spec))
        except WherryError as error:
            raise _VerdictError(Verdict.SHAPE_MISMATCH, error.message) from error

    def _chunks(self, engine: Engine, examples: GoldenSet) -> Iterator[tuple[slice, Tensors]]:
        """Yield the outputs for a few samples at a time, checked to be as many and as large as the references."""
        spec, step = self.subject.spec, _chunk_of(examples)
        for start in range(0, len(examples), step):
            rows = slice(start, start + step)
            try:
                outputs = engine.run(prepare(examples.raw[rows], spec))
            except EngineError as error:
                raise _VerdictError(Verdict.RUN_FAIL, error.message) from error
            except WherryError as error:
                raise _VerdictError(Verdict.SHAPE_MISMATCH, error.message) from error
            shapes = [
                f"{name}: shape {list(outputs[name].shape)} instead of {list(reference[rows].shape)}"
                for name, reference in examples.references.items()
                if name not in outputs or outputs[name].shape != reference[rows].shape
            ]
            if shapes:
                raise _VerdictError(Verdict.SHAPE_MISMATCH, *shapes)
            broken = [name for name, array in outputs.items() if not np.isfinite(array).all()]
            if broken:
                reasons = (f"{name}: the output holds values that are not finite" for name in broken)
                raise _VerdictError(Verdict.VACUOUS, *reasons)
            yield rows, outputs

    def _compare(self, engine: Engine, qualities: "_Qualities") -> None:
        golden = self.subject.golden
        tallies = {name: OutputTally(name, scale_of(array)) for name, array in golden.references.items()}
        answers = self.task.comparing(self.subject.spec)
        for rows, outputs in self._chunks(engine, golden):
            references = {name: array[rows] for name, array in golden.references.items()}
            for name, tally in tallies.items():
                tally.update(outputs[name], references[name])
            answers.update(outputs, references)
            if self.subject.evaluation is None and golden.labels is not None:
                qualities.update(outputs, references, golden.labels[rows])
        hollow = [reason for tally in tallies.values() if (reason := tally.vacuous())]
        if hollow:
            raise _VerdictError(Verdict.VACUOUS, *hollow)
        self.errors = tuple(tally.result() for tally in tallies.values())
        self.metrics = answers.result()
        reasons = [reason for error in self.errors for reason in within(error, self.tolerance)]
        agreement = self.metrics["agreement"]
        if not agreement >= self.tolerance.min_agreement:
            reasons.append(
                f"answers agree on {agreement:.1%} of the golden set, below {self.tolerance.min_agreement:.1%}"
            )
        if reasons:
            raise _VerdictError(Verdict.OUTPUT_MISMATCH, *reasons)

    def _gate(self, engine: Engine, qualities: "_Qualities") -> None:
        """Measure the task's quality on the evaluation set, and refuse a drop."""
        examples = self.subject.evaluation
        if examples is not None and examples.labels is not None:
            for rows, outputs in self._chunks(engine, examples):
                references = {name: array[rows] for name, array in examples.references.items()}
                qualities.update(outputs, references, examples.labels[rows])
        got, want, name = *qualities.result(), self.task.quality_name
        if name is None or name not in got or name not in want:
            return
        self.quality = name
        self.metrics |= got | {f"reference_{name}": want[name], f"{name}_samples": float(qualities.samples)}
        if not want[name] - got[name] <= self.tolerance.max_metric_drop:
            drop = f"{name} fell from {want[name]:.4f} to {got[name]:.4f}, more than {self.tolerance.max_metric_drop}"
            raise _VerdictError(Verdict.OUTPUT_MISMATCH, drop)


class _Qualities:
    """The variant's quality and that of the reference on the same samples."""

    def __init__(self, task: TaskMetric, spec: ModelSpec) -> None:
        self._own: Tally[Array] | None = task.scoring(spec)
        self._reference: Tally[Array] | None = task.scoring(spec)
        self.samples = 0

    def update(self, outputs: Tensors, references: Tensors, labels: Array) -> None:
        self.samples += len(labels)
        for tally, tensors in ((self._own, outputs), (self._reference, references)):
            if tally is not None:
                tally.update(tensors, labels)

    def result(self) -> tuple[dict[str, float], dict[str, float]]:
        if self._own is None or self._reference is None or not self.samples:
            return {}, {}
        return self._own.result(), self._reference.result()


def _chunk_of(examples: GoldenSet) -> int:
    outputs = sum(array.nbytes for array in examples.references.values())
    inputs = examples.raw.size * np.dtype(np.float32).itemsize
    return chunk_size((outputs + inputs) // len(examples))


def _other_names(mine: tuple[str, ...], recorded: tuple[str, ...]) -> str:
    """Return a sentence about the first class that has another name."""
    if len(mine) != len(recorded):
        return f"there are {len(mine)} class names, and the golden set was recorded with {len(recorded)}"
    index = next(index for index, pair in enumerate(zip(mine, recorded, strict=True)) if pair[0] != pair[1])
    return f"class {index} is called {mine[index]!r}, and the golden set was recorded with {recorded[index]!r}"


def _not_covered(subject: Subject) -> tuple[str, ...]:
    gaps = [f"inputs unlike the {len(subject.golden)} golden ones"]
    dynamic = {axis for tensor in subject.spec.inputs for axis in tensor.shape if isinstance(axis, str)}
    if subject.variant.batch is None and dynamic:
        samples, step = len(subject.golden), _chunk_of(subject.golden)
        sizes = sorted({min(step, samples), samples % step or step})
        gaps.append(f"other sizes of {', '.join(sorted(dynamic))} than {', '.join(map(str, sizes))}")
    if not subject.golden.prepared:
        gaps.append("preprocessing by itself: the golden set holds no prepared inputs")
    labelled = subject.evaluation or subject.golden
    if labelled.labels is None:
        gaps.append("the task's metric: there are no labels")
    return tuple(gaps)
