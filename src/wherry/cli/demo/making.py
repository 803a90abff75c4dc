"""Steps 1 to 5 of the demo, at the training site: train, register, export, prove, benchmark and choose."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wherry import delivery
from wherry.cli.demo.world import MODEL, WHO, World
from wherry.cli.exporting import export_table
from wherry.cli.measured import bench_table, choice_lines, noise_lines
from wherry.cli.output import percent, table
from wherry.cli.proving import proof_table
from wherry.core.errors import ProofRefusedError
from wherry.core.variant import Target
from wherry.proof.record import Examples
from wherry.registry import Registry, tree

if TYPE_CHECKING:
    from wherry.cli.demo.training import Trained
    from wherry.core.model import Version
    from wherry.core.report import Choice

TARGETS = ("pt2-fp32", "onnx-fp32", "onnx-int8", "tflite-fp32", "openvino-fp32")
FIRST_TARGETS = ("pt2-fp32", "onnx-fp32")
GOLDEN_SAMPLES = 100


def train(world: World) -> "Sequence[Trained]":
    """Step 1: v1 on 1000 images; 100 more arrive; v2 is a full retrain on all 1100 from v1's weights."""
    from wherry.cli.demo.training import train_both

    with world.step("train", "Train on real scans of handwritten digits") as numbers:
        trained = train_both(world)
        rows = []
        for one in trained:
            line = one.lineage
            rows.append(
                (
                    f"v{one.number}",
                    line.training_strategy.replace("_", " "),
                    line.training_images,
                    line.new_images,
                    line.removed_images,
                    line.total_epochs,
                    percent(one.metrics["accuracy"]),
                )
            )
            numbers[f"v{one.number}"] = {"lineage": line, "metrics": one.metrics, "reused": one.reused}
        numbers["held_out_images"] = len(trained[0].held_out.raw)
        world.show(table(("version", "strategy", "images", "new", "removed", "epochs", "accuracy"), rows))
        world.say(f"Accuracy is of {len(trained[0].held_out.raw)} images that neither has seen.")
    return trained


def register(world: World, trained: "Sequence[Trained]") -> "list[Version]":
    """Step 2: both become versions; the alias moves to v2 with an event."""
    with world.step("register", "Register both versions") as numbers, Registry.open(world.registry) as registry:
        versions = []
        for one in trained:
            version, new = register_one(registry, one, one.spec, why=one.lineage.notes)
            if not new:
                world.note_reuse(f"{version.name}, registered before")
            versions.append(version)
            world.say(f"{version.name} = {version.semantic_version}, digest {version.digest[:12]}")
        if "current_best" not in registry.aliases(MODEL):
            delivery.promote(registry, versions[0].name, "current_best", who=WHO, why="the first version")
        why = f"{percent(versions[1].metrics['accuracy'])} on unseen images, with 100 new ones learned"
        event = delivery.promote(registry, versions[1].name, "current_best", who=WHO, why=why)
        world.say(f"{MODEL}@current_best is v{event.version} now: {event.why} ({event.who}).")
        numbers["versions"] = versions
        numbers["event"] = event
        numbers["golden_samples"] = GOLDEN_SAMPLES
    return versions


def register_one(registry: Registry, one: "Trained", spec: Any, *, why: str) -> "tuple[Version, bool]":
    """Register one trained network under a spec; golden and held-out images are real scans it has not seen."""
    held_out = one.held_out
    labels = None if held_out.labels is None else held_out.labels[:GOLDEN_SAMPLES]
    submission = delivery.Submission(
        model=MODEL,
        network=one.network,
        checkpoint=one.checkpoint,
        spec=spec,
        golden=Examples(raw=held_out.raw[:GOLDEN_SAMPLES], labels=labels),
        evaluation=held_out,
        lineage=one.lineage,
        metrics=one.metrics,
    )
    return delivery.register(registry, submission, who=WHO, why=why)


def export(world: World, versions: "Sequence[Version]", trained: "Sequence[Trained]") -> None:
    """Step 3: every target in its own child process, side by side."""
    plans = ((versions[0], FIRST_TARGETS), (versions[1], TARGETS))
    title = "Export, each target in a process of its own"
    with world.step("export", title) as numbers, Registry.open(world.registry) as registry:
        for version, targets in plans:
            numbers[f"v{version.number}"] = export_one(world, registry, version, targets, trained[1])
        folder = tree.refresh(registry, MODEL, world.product)
        world.say(f"People find it all with ls: {folder}")


def export_one(
    world: World, registry: Registry, version: "Version", targets: Sequence[str], trained: "Trained"
) -> list[dict[str, Any]]:
    """Export one version and show what came out."""
    outcomes = delivery.export(
        registry,
        version.name,
        [Target.parse(name) for name in targets],
        calibration=trained.calibration,
    )
    for outcome in outcomes:
        if outcome.reused:
            world.note_reuse(f"{version.name} {outcome.target.name}, built before from the same inputs")
    world.say(version.name)
    world.show(export_table(outcomes))
    return [
        {
            "target": outcome.target.name,
            "built": outcome.variant is not None,
            "reused": outcome.reused,
            "seconds": outcome.seconds,
            "error": outcome.error,
            "variant": outcome.variant,
        }
        for outcome in outcomes
    ]


def prove(world: World, versions: "Sequence[Version]") -> None:
    """Step 4: each variant against the program, on real images; what fails is reported and left out."""
    with world.step("prove", "Prove each variant on real images") as numbers, Registry.open(world.registry) as registry:
        for version in versions:
            reports = delivery.prove(registry, version.name)
            numbers[f"v{version.number}"] = reports
            world.say(f"{version.name}, {reports[0].samples} golden inputs")
            world.show(proof_table(reports))
            failed = [report.target for report in reports if not report.passed]
            if len(failed) == len(reports):
                msg = f"No variant of {version.name} passed its proof."
                raise ProofRefusedError(msg)
            world.say(f"left out: {', '.join(failed)}" if failed else "all of them ship")


def bench(world: World, versions: "Sequence[Version]") -> "Choice":
    """Step 5: measure the proven variants side by side and choose."""
    title = "Benchmark side by side, and choose for this machine"
    with world.step("bench", title) as numbers, Registry.open(world.registry) as registry:
        measurements = delivery.bench(registry, versions[1].name, seconds=0.5)
        world.show(bench_table(measurements))
        for line in noise_lines(measurements):
            world.say(line)
        choice = delivery.choose(registry, versions[1].name)
        for part in choice_lines(choice):
            if isinstance(part, str):
                world.say(part)
            else:
                world.show(part)
        numbers["measurements"] = measurements
        numbers["choice"] = choice
    return choice
