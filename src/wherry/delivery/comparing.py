"""Two versions or variants side by side: answers, confidence, quality, speed, size, and what they were made of."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.comparison import Comparison, Side
from wherry.core.model import Version
from wherry.core.report import EngineInfo
from wherry.core.variant import Variant
from wherry.delivery.differences import of_specs, of_variants, of_versions
from wherry.delivery.proving import has_passed

if TYPE_CHECKING:
    from wherry.proof.pair import Half, PairJob, PairResult
    from wherry.registry import Registry

_TIMEOUT_S = 1800.0
PROGRAM = "program"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    version: Version
    variant: Variant | None
    proven: bool

    @property
    def target(self) -> str:
        return PROGRAM if self.variant is None else self.variant.name

    @property
    def size(self) -> int:
        return self.version.program.size if self.variant is None else self.variant.size


def compare(registry: "Registry", left: str, right: str, *, seconds: float = 1.0, threads: int = 0) -> Comparison:
    """Pair two versions or variants on the golden and evaluation examples of the right one.

    Both get the same raw examples, each through its own preprocessing; classes are matched by name. A variant without
    a passed proof may be compared too: it is marked.

    Args:
        registry: where both are.
        left: `NAME@v1`, or `NAME@v1:onnx-fp32` for one variant, or `NAME@v1:program` for the program itself. Without
            a target both sides take the same one: the first that is proven for both, else their programs.
        right: the same.
        seconds: time for each of them once it is warm.
        threads: of the runtimes; 0 lets them decide.

    Raises:
        NotFoundError: an unknown version or variant.
        UsageError: a name is neither.
        BadInputError: one of them cannot take the other's raw examples.
        DeviceError: one of them cannot be opened or run.
    """
    from wherry.jobs.child import run_in_child
    from wherry.proof.pair import PairResult

    one, two = _chosen(registry, left, right)
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        job = _job(registry, one, two, Path(scratch), seconds, threads)
        timeout = _TIMEOUT_S + 50 * seconds
        found = run_in_child("wherry.proof.pair:compare_pair", job, PairResult, timeout_s=timeout)
    return _comparison(registry, one, two, found)


def _chosen(registry: "Registry", left: str, right: str) -> tuple[_Chosen, _Chosen]:
    (ref_a, _, target_a), (ref_b, _, target_b) = left.partition(":"), right.partition(":")
    a, b = registry.version(ref_a), registry.version(ref_b)
    if not target_a and not target_b:
        target_a = target_b = _common(registry, a, b)
    return _one(registry, a, target_a or target_b), _one(registry, b, target_b or target_a)


def _common(registry: "Registry", left: Version, right: Version) -> str:
    """Return the first target that is proven for both and runs here, or the program."""
    from wherry.runtime.engines import engine_class

    sides = [
        [
            variant.name
            for variant in registry.variants(version.model, version.number)
            if has_passed(registry, variant) and engine_class(variant.engine).unsupported() is None
        ]
        for version in (left, right)
    ]
    return next((name for name in sides[0] if name in sides[1]), PROGRAM)


def _one(registry: "Registry", version: Version, target: str) -> _Chosen:
    if target == PROGRAM:
        return _Chosen(version=version, variant=None, proven=True)
    variant = registry.variant(version.model, version.number, target)
    return _Chosen(version=version, variant=variant, proven=has_passed(registry, variant))


def _job(registry: "Registry", left: _Chosen, right: _Chosen, scratch: Path, seconds: float, threads: int) -> "PairJob":
    from wherry.proof.pair import PairJob

    sets = [right.version.golden] + ([] if right.version.evaluation is None else [right.version.evaluation])
    return PairJob(
        left=_half(registry, left, scratch / "left"),
        right=_half(registry, right, scratch / "right"),
        sets=tuple((str(registry.blob_path(file.sha256)), file.sha256) for file in sets),
        seconds=seconds,
        threads=threads,
    )


def _half(registry: "Registry", one: _Chosen, folder: Path) -> "Half":
    from wherry.proof.pair import Half

    files = (one.version.program,) if one.variant is None else one.variant.files
    return Half(
        main=str(registry.materialize(files, folder)),
        engine="torch" if one.variant is None else one.variant.engine,
        batch=None if one.variant is None else one.variant.batch,
        spec=one.version.spec,
    )


def _comparison(registry: "Registry", left: _Chosen, right: _Chosen, found: "PairResult") -> Comparison:
    a, b = left.version, right.version
    programs = [registry.blob_path(version.program.sha256) for version in (a, b)]
    subjects = {
        **of_specs(a.spec, b.spec),
        **of_versions(a, b, programs),
        **of_variants(left.variant, right.variant),
    }
    return Comparison(
        left=_side(left, found.left_engine, found.left_quality, found.left_ms, found.left_ci95),
        right=_side(right, found.right_engine, found.right_quality, found.right_ms, found.right_ci95),
        examples=found.examples,
        agreement=found.agreement,
        mean_confidence_drift=found.mean_confidence_drift,
        max_confidence_drift=found.max_confidence_drift,
        quality=found.quality,
        input_difference=found.input_difference,
        speed=found.speed,
        differences={subject: rows for subject, rows in subjects.items() if rows},
        notes=found.notes,
    )


def _side(one: _Chosen, engine: EngineInfo, quality: float | None, p50_ms: float, ci95_ms: tuple[float, float]) -> Side:
    return Side(
        name=f"{one.version.name} {one.target}",
        version=one.version.name,
        target=one.target,
        engine=engine,
        size_bytes=one.size,
        proven=one.proven,
        quality=quality,
        p50_ms=p50_ms,
        ci95_ms=ci95_ms,
    )
