"""Planted failures: each spoils a real, trained network in a way that happens, and the proof says which rung broke."""

from dataclasses import replace

import numpy as np
import pytest

from wherry import delivery
from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError, UsageError
from wherry.core.model import Lineage
from wherry.core.report import Verdict
from wherry.core.variant import Target
from wherry.proof.climbing import LadderJob, climb_ladder
from wherry.proof.golden import GoldenSet
from wherry.proof.ladder import first_broken, with_ladder
from wherry.proof.prove import Subject, prove
from wherry.proof.record import Examples, record
from wherry.registry import Registry
from wherry.runtime.preprocess import prepare

pytestmark = pytest.mark.slow
REF = "digits@v1"


class World:
    """A registered network with honest variants, and a way to prove spoiled ones."""

    def __init__(self, registry, folder, network):
        self.registry, self.folder, self.network = registry, folder, network
        self.version = registry.version(REF)
        self.spec = self.version.spec
        self.golden = GoldenSet.from_bytes(registry.read(self.version.golden.sha256))
        self.evaluation = GoldenSet.from_bytes(registry.read(self.version.evaluation.sha256))
        self.honest = {found.name: found for found in registry.variants("digits", 1)}

    def variant(self, target):
        """The honest variant of that target with its files laid out."""
        found = self.honest[target]
        return found, self.registry.materialize(found.files, self.folder / target)

    def exported(self, network, name="spoiled.onnx"):
        """Another network as an ONNX file that passes for onnx-fp32."""
        import torch

        from wherry.checkpoint.capture import capture
        from wherry.runtime.program import open_program

        path = self.folder / name
        program = open_program(capture(network, self.spec, self.folder / "spoiled.pt2").path)
        names = {"input_names": ["image"], "output_names": ["logits"]}
        torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False, **names)
        honest, _ = self.variant("onnx-fp32")
        return replace(honest, files=(FileRef.of(path.name, path.read_bytes()),)), path

    def prove(self, variant, main, **changes):
        """The report of a variant with its ladder, as the build machine makes it."""
        given = {"spec": self.spec, "golden": self.golden, "evaluation": self.evaluation} | changes
        report = prove(Subject(variant=variant, main=main, golden_sha256="0" * 64, **given), where="build").report
        golden = self.folder / "golden.npz"
        golden.write_bytes(given["golden"].to_bytes())
        parent, parent_main = self.variant("onnx-fp32")
        job = LadderJob(
            variant=variant,
            main=str(main),
            program=str(self.registry.materialize((self.version.program,), self.folder / "program")),
            program_engine="torch",
            spec=given["spec"],
            golden=str(golden),
            golden_sha256=FileRef.of("golden.npz", golden.read_bytes()).sha256,
            converted=parent,
            converted_main=str(parent_main),
        )
        return with_ladder(report, climb_ladder(job))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    import torch

    from tests.proof.coloured_digits import SPEC, Net, digits, trained

    folder = tmp_path_factory.mktemp("planted")
    raw, labels = digits()
    made = trained(prepare(raw[600:], SPEC)["image"], labels[600:])
    torch.save(made.state_dict(), folder / "weights.pt")
    with Registry.open(folder / "registry") as registry:
        submission = delivery.Submission(
            model="digits",
            network=Net,
            checkpoint=folder / "weights.pt",
            spec=SPEC,
            golden=Examples(raw=raw[:50], labels=labels[:50], class_names=SPEC.class_names),
            evaluation=Examples(raw=raw[50:600], labels=labels[50:600]),
            lineage=Lineage(timestamp="2026-01-01T00:00:00+00:00", training_images=len(raw) - 600, new_images=0),
        )
        delivery.register(registry, submission, who="test", why="planted failures")
        outcomes = delivery.export(
            registry,
            REF,
            [Target(format="onnx"), Target(format="onnx", precision="int8")],
            calibration=Examples(raw=raw[600:800], labels=labels[600:800]),
        )
        assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
        yield World(registry, folder, made)


@pytest.mark.parametrize("target", ["onnx-fp32", "onnx-int8"])
def test_honest_variants_pass_and_every_rung_holds(world, target):
    report = world.prove(*world.variant(target))
    assert report.verdict is Verdict.PASS, report.reasons
    assert report.quality == "accuracy"
    assert report.metrics["accuracy"] > 0.9
    expected = ["preprocessing", "program", "converted", "quantized", "engine", "device"]
    assert [rung.name for rung in report.rungs] == [
        name for name in expected if target != "onnx-fp32" or name != "quantized"
    ]
    assert first_broken(report.rungs) is None
    assert report.engine.execution[0].provider == "CPUExecutionProvider"
    assert report.engine.fallback is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel_order": "BGR"}, "channel_order is 'BGR' here and was 'RGB'"),
        ({"resample": "nearest"}, "resample is 'nearest' here and was 'bicubic'"),
        ({"resample": "bilinear"}, "resample is 'bilinear' here and was 'bicubic'"),
        ({"mean": (0.0,), "std": (1.0,)}, "normalisation is (x * 0.003922 - 0) / 1 here"),
        ({"scale": 1.0}, "normalisation is (x * 1 - [0.3, 0.2, 0.1])"),
        ({"layout": "NHWC"}, "layout is 'NHWC' here and was 'NCHW'"),
    ],
    ids=["bgr", "nearest", "bilinear", "no-normalisation", "no-scale", "nhwc"],
)
def test_another_preprocessing_breaks_the_first_rung(world, change, words):
    spec = replace(world.spec, preprocessing=replace(world.spec.preprocessing, **change))
    report = world.prove(*world.variant("onnx-int8"), spec=spec)
    assert not report.passed
    broken = first_broken(report.rungs)
    assert broken.name == "preprocessing"
    assert words in broken.reason
    assert report.reasons[-1].startswith("first broken rung: preprocessing")


@pytest.mark.parametrize("change", [{"channel_order": "BGR"}, {"mean": (0.0,), "std": (1.0,)}, {"resample": "nearest"}])
def test_the_answers_tell_where_no_inputs_were_recorded(world, change):
    """A golden set from before inputs were kept: the numbers and the accuracy give the same failure away."""
    spec = replace(world.spec, preprocessing=replace(world.spec.preprocessing, **change))
    old = replace(world.golden, prepared={})
    report = world.prove(*world.variant("onnx-fp32"), spec=spec, golden=old)
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert any("prepared inputs" in gap for gap in report.not_covered)
    assert first_broken(report.rungs).name == "program"


def test_swapped_class_names_are_found_though_all_numbers_agree(world):
    names = list(world.spec.class_names)
    names[3], names[8] = names[8], names[3]
    report = world.prove(*world.variant("onnx-fp32"), spec=replace(world.spec, class_names=tuple(names)))
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert "class 3 is called 'eight', and the golden set was recorded with 'three'" in report.reasons[0]
    program = world.registry.blob_path(world.version.program.sha256)
    with pytest.raises(BadInputError, match="Class 3 is 'eight' in the examples and 'three' in the model spec"):
        record(program, world.spec, Examples(raw=world.golden.raw, class_names=tuple(names)))


def test_swapped_classes_break_the_conversion(world):
    from torch import nn

    class Swapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, image):
            logits = self.inner(image)
            return logits[:, [0, 1, 2, 8, 4, 5, 6, 7, 3, 9]]

    report = world.prove(*world.exported(Swapped(world.network)))
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert first_broken(report.rungs).name == "converted"


def test_a_transposed_layout_breaks_the_conversion(world):
    from torch import nn

    class Transposed(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, image):
            return self.inner(image.transpose(2, 3))

    report = world.prove(*world.exported(Transposed(world.network)))
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert first_broken(report.rungs).name == "converted"
    assert report.reasons[-1] == "first broken rung: converted: onnx-fp32 on onnxruntime, unoptimised"


def test_half_precision_that_overflows_breaks_the_quantized_rung(world):
    import torch
    from torch import nn

    from tests.proof.coloured_digits import loud

    class Half(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner.half()

        def forward(self, image):
            return self.inner(image.half()).float()

    main = world.folder / "half.pt2"
    batch = {"image": {0: torch.export.Dim("batch")}}
    torch.export.save(
        torch.export.export(Half(loud(world.network)), (torch.ones(2, 3, 16, 16),), dynamic_shapes=batch), main
    )
    honest, _ = world.variant("onnx-fp32")
    variant = replace(
        honest,
        target=Target(format="pt2", precision="fp16"),
        engine="torch",
        files=(FileRef.of(main.name, main.read_bytes()),),
    )
    report = world.prove(variant, main)
    assert not report.passed
    assert "not finite" in " ".join(report.reasons)
    broken = first_broken(report.rungs)
    assert (broken.name, broken.subject) == ("quantized", "pt2-fp16 on torch")


def test_int8_from_the_wrong_pictures_breaks_the_quantized_rung(world):
    """Calibrated at night: the ranges are those of pictures that are nearly black."""
    raw = (world.evaluation.raw[:100] // 24).astype(np.uint8)
    int8 = Target(format="onnx", precision="int8")
    uncontrolled = delivery.AccuracyLimits(max_drop=100)  # or layers would return to float until it is right
    delivery.export(world.registry, REF, [int8], calibration=Examples(raw=raw), limits=uncontrolled)
    (report,) = delivery.prove(world.registry, REF, ["onnx-int8"])
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    assert first_broken(report.rungs).name == "quantized"
    assert "first broken rung: quantized: onnx-int8 on onnxruntime" in report.reasons[-1]


def test_the_explanation_names_modules(world):
    (found,) = delivery.explain(world.registry, REF, ["onnx-int8"])
    assert (found.target, found.reference) == ("onnx-int8", "onnx-fp32")
    lost = [layer.lost_db for layer in found.layers]
    assert lost == sorted(lost, reverse=True)
    assert {"edges", "shapes", "head"} <= {layer.module for layer in found.layers}
    worst = found.layers[0]
    assert 0 < worst.lost_db <= 100
    with pytest.raises(UsageError, match="no float graph"):
        delivery.explain(world.registry, REF, ["onnx-fp32"])


def test_the_ladder_on_request_and_without_its_float_variant(world):
    (report,) = delivery.prove(world.registry, REF, ["onnx-fp32"], ladder=True)
    assert report.passed
    assert len(report.rungs) == 5
    variant, main = world.variant("onnx-int8")
    job = LadderJob(
        variant=variant,
        main=str(main),
        program=str(world.registry.blob_path(world.version.program.sha256)),
        program_engine="torch",
        spec=world.spec,
        golden=str(world.registry.blob_path(world.version.golden.sha256)),
        golden_sha256=world.version.golden.sha256,
    )
    rungs = {rung.name: rung for rung in climb_ladder(job)}
    assert "not looked at: there is no fp32 variant" in rungs["converted"].reason
    assert rungs["quantized"].passed
