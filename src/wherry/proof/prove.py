"""The proof: golden set against a variant, fail-closed. One function, run by the build, the device and the server.

A pass means: the same raw inputs went through preprocessing and this engine, every output is within its tolerance of
the reference that the program gave in fp32, the task's answers agree, and the comparison was not vacuous. Anything
that goes wrong on the way is a verdict with a reason, never an exception and never a pass.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wherry.core.errors import EngineError, ProofRefusedError, WherryError
from wherry.core.model import ModelSpec
from wherry.core.report import EngineInfo, OutputError, Proven, Report, Tolerance, Verdict, Where
from wherry.core.variant import Variant
from wherry.proof.compare import output_error, tolerance_for, vacuous, within
from wherry.proof.golden import GoldenSet
from wherry.proof.tasks import task_metric
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Engine, EngineOptions, Tensors
from wherry.runtime.preprocess import prepare

_CHUNK = 64  # samples that are in memory as tensors at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be proven: a variant, where its main file lies, and what it should be."""

    variant: Variant
    main: Path
    spec: ModelSpec
    golden: GoldenSet
    golden_sha256: str
    evaluation: GoldenSet | None = None
    """More examples with labels, for the task's metric only; None uses the golden set's own labels."""


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
        tolerance=tolerance_for(variant.target.precision),
        engine=None,
        not_covered=("everything: the proof did not finish",),
        seconds=0.0,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


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
    run = _Run(subject, tolerance or tolerance_for(subject.variant.target.precision), options or EngineOptions())
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
        self.engine: EngineInfo | None = None

    def verdict(self) -> tuple[Verdict, tuple[str, ...]]:
        try:
            self._references_mean_something()
            with self._opened() as engine:
                self.engine = engine.info()
                outputs = self._outputs(engine, self.subject.golden)
                self._compare(outputs)
                self._quality(engine, outputs)
        except _VerdictError as refusal:
            return refusal.verdict, refusal.reasons
        return Verdict.PASS, ()

    def _references_mean_something(self) -> None:
        references = self.subject.golden.references
        missing = [tensor.name for tensor in self.subject.spec.outputs if tensor.name not in references]
        if missing:
            raise _VerdictError(Verdict.SHAPE_MISMATCH, f"the golden set has no reference for {', '.join(missing)}")
        reasons = [vacuous(f"reference {name}", array) for name, array in references.items()]
        reasons.append(self.task.vacuous(references, self.subject.spec))
        found = [reason for reason in reasons if reason]
        if found:
            raise _VerdictError(Verdict.VACUOUS, *found)

    def _opened(self) -> Engine:
        variant = self.subject.variant
        try:
            kind = engine_class(variant.engine)
            return kind(self.subject.main, self.subject.spec, batch=variant.batch, options=self.options)
        except WherryError as error:
            raise _VerdictError(Verdict.LOAD_FAIL, error.message) from error

    def _outputs(self, engine: Engine, examples: GoldenSet) -> Tensors:
        spec = self.subject.spec
        starts = range(0, len(examples), _CHUNK)
        try:
            parts = [engine.run(prepare(examples.raw[start : start + _CHUNK], spec)) for start in starts]
        except EngineError as error:
            raise _VerdictError(Verdict.RUN_FAIL, error.message) from error
        except WherryError as error:
            raise _VerdictError(Verdict.SHAPE_MISMATCH, error.message) from error
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _compare(self, outputs: Tensors) -> None:
        golden, spec = self.subject.golden, self.subject.spec
        shapes = [
            f"{name}: shape {list(outputs[name].shape)} instead of {list(reference.shape)}"
            for name, reference in golden.references.items()
            if name not in outputs or outputs[name].shape != reference.shape
        ]
        if shapes:
            raise _VerdictError(Verdict.SHAPE_MISMATCH, *shapes)
        hollow = [reason for name in golden.references if (reason := vacuous(name, outputs[name]))]
        if hollow:
            raise _VerdictError(Verdict.VACUOUS, *hollow)
        self.errors = tuple(output_error(name, outputs[name], ref) for name, ref in golden.references.items())
        self.metrics = self.task.agreement(outputs, golden.references, spec)
        reasons = [reason for error in self.errors for reason in within(error, self.tolerance)]
        agreement = self.metrics["agreement"]
        if not agreement >= self.tolerance.min_agreement:
            reasons.append(
                f"answers agree on {agreement:.1%} of the golden set, below {self.tolerance.min_agreement:.1%}"
            )
        if reasons:
            raise _VerdictError(Verdict.OUTPUT_MISMATCH, *reasons)

    def _quality(self, engine: Engine, golden_outputs: Tensors) -> None:
        examples = self.subject.evaluation or self.subject.golden
        name = self.task.quality_name
        if examples.labels is None or name is None:
            return
        outputs = golden_outputs if examples is self.subject.golden else self._outputs(engine, examples)
        got = self.task.quality(outputs, examples.labels, self.subject.spec)
        want = self.task.quality(examples.references, examples.labels, self.subject.spec)
        if got is None or want is None:
            return
        self.metrics |= {name: got, f"reference_{name}": want, f"{name}_samples": float(len(examples))}
        if not want - got <= self.tolerance.max_metric_drop:
            drop = f"{name} fell from {want:.4f} to {got:.4f}, more than {self.tolerance.max_metric_drop}"
            raise _VerdictError(Verdict.OUTPUT_MISMATCH, drop)


def _not_covered(subject: Subject) -> tuple[str, ...]:
    gaps = [f"inputs unlike the {len(subject.golden)} golden ones"]
    dynamic = {axis for tensor in subject.spec.inputs for axis in tensor.shape if isinstance(axis, str)}
    if subject.variant.batch is None and dynamic:
        sizes = sorted({min(_CHUNK, len(subject.golden)), len(subject.golden) % _CHUNK or _CHUNK})
        gaps.append(f"other sizes of {', '.join(sorted(dynamic))} than {', '.join(map(str, sizes))}")
    labelled = subject.evaluation or subject.golden
    if labelled.labels is None:
        gaps.append("the task's metric: there are no labels")
    return tuple(gaps)
