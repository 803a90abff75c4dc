"""The ladder: from the network as it was recorded to this engine on this device, one change at a time.

Each rung is compared with the one before it, so the first that breaks is where the variant was spoiled: by its
preprocessing, by the program on this machine, by the conversion, by the lower precision, by the engine's own
optimisations or by the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wherry.core.errors import ToolchainMissingError, WherryError
from wherry.core.model import ModelSpec
from wherry.core.report import Report, Rung, RungName, Tolerance
from wherry.core.variant import Variant
from wherry.proof.compare import output_error, within
from wherry.proof.golden import GoldenSet
from wherry.proof.inputs import preprocessing_rung
from wherry.proof.tasks import task_metric
from wherry.runtime.interface import Engine, Tensors
from wherry.runtime.preprocess import prepare

_SAMPLES = 16  # golden inputs that go up the ladder: what breaks, breaks on a few


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What runs on one rung, and what may differ from the rung before."""

    rung: RungName
    subject: str
    """Such as `onnx-fp32 on onnxruntime`."""
    tolerance: Tolerance
    opened: Callable[[], Engine] | str
    """Opens the engine; or why this rung is not looked at."""


def climb(golden: GoldenSet, spec: ModelSpec, steps: Sequence[Step]) -> tuple[Rung, ...]:
    """Return one rung for preprocessing and one for each step; it ends where something cannot run at all."""
    first = preprocessing_rung(golden, spec)
    rungs = [first or _unseen("preprocessing", "the golden inputs", "the golden set holds no prepared inputs")]
    before: Tensors = {name: array[:_SAMPLES] for name, array in golden.references.items()}
    for step in steps:
        if isinstance(step.opened, str):
            rungs.append(_unseen(step.rung, step.subject, step.opened))
            continue
        try:
            with step.opened() as engine:
                outputs = engine.run(prepare(golden.raw[:_SAMPLES], spec))
        except ToolchainMissingError as error:
            rungs.append(_unseen(step.rung, step.subject, error.message))
            continue
        except WherryError as error:
            rungs.append(Rung(name=step.rung, subject=step.subject, passed=False, reason=error.message))
            break
        rungs.append(_compared(step, outputs, before, spec))
        if not _usable(outputs, before):
            break
        before = outputs
    return tuple(rungs)


def first_broken(rungs: Sequence[Rung]) -> Rung | None:
    """Return the first rung that is not passed, or None."""
    return next((rung for rung in rungs if not rung.passed), None)


def with_ladder(report: Report, rungs: Sequence[Rung]) -> Report:
    """Return the report with its rungs; a failed one names the first that broke among its reasons."""
    broken = first_broken(rungs)
    reasons = report.reasons
    if broken is not None and not report.passed:
        reasons = (*reasons, f"first broken rung: {broken.name}: {broken.subject}")
    return replace(report, rungs=tuple(rungs), reasons=reasons)


def subject_of(variant: Variant, *, reference: bool = False, device: str = "") -> str:
    """Return how a variant is called on a rung."""
    words = f"{variant.name} on {variant.engine}"
    return words + (", unoptimised" if reference else "") + (f" on {device}" if device else "")


def _compared(step: Step, outputs: Tensors, before: Tensors, spec: ModelSpec) -> Rung:
    if not _usable(outputs, before):
        reason = _strange(outputs, before)
        return Rung(name=step.rung, subject=step.subject, passed=False, reason=reason)
    errors = [output_error(name, outputs[name], array) for name, array in before.items()]
    agreement = task_metric(spec.task).agreement(outputs, before, spec)["agreement"]
    reasons = [reason for error in errors for reason in within(error, step.tolerance)]
    if not agreement >= step.tolerance.min_agreement:
        reasons.append(f"answers agree on {agreement:.1%}, below {step.tolerance.min_agreement:.1%}")
    return Rung(
        name=step.rung,
        subject=step.subject,
        passed=not reasons,
        cosine=min(error.cosine for error in errors),
        max_abs=max(error.max_abs for error in errors),
        agreement=agreement,
        reason="; ".join(reasons),
    )


def _usable(outputs: Tensors, before: Tensors) -> bool:
    return all(
        name in outputs and outputs[name].shape == array.shape and bool(np.isfinite(outputs[name]).all())
        for name, array in before.items()
    )


def _strange(outputs: Tensors, before: Tensors) -> str:
    for name, array in before.items():
        if name not in outputs or outputs[name].shape != array.shape:
            return f"{name}: another shape than {list(array.shape)}"
    return "an output holds values that are not finite"


def _unseen(name: RungName, subject: str, why: str) -> Rung:
    return Rung(name=name, subject=subject, passed=True, reason=f"not looked at: {why}")
