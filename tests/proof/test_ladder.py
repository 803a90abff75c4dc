"""The ladder over a real engine whose weights can be spoiled: the first rung that breaks is named."""

from dataclasses import replace

import pytest
from linear_engine import LinearEngine, write_linear

from wherry.cli.proving import explanation_table, ladder_lines
from wherry.core.errors import ToolchainMissingError, UsageError
from wherry.proof.compare import tolerance_for
from wherry.proof.explain import Explanation, LayerError, check_explainable
from wherry.proof.ladder import Step, climb, first_broken, with_ladder
from wherry.proof.prove import prove
from wherry.runtime.preprocess import prepare


@pytest.fixture
def step(tmp_path, weights, spec):
    def make(rung, change=None, behaviour=""):
        path = write_linear(tmp_path / f"{rung}.npz", weights if change is None else change(weights), behaviour)
        return Step(
            rung=rung,
            subject=f"{rung} on linear",
            tolerance=tolerance_for("fp32"),
            opened=lambda: LinearEngine(path, spec),
        )

    return make


def test_every_rung_holds(golden, spec, step):
    whole = replace(golden, prepared={"image": prepare(golden.raw[:4], spec)["image"]})
    rungs = climb(whole, spec, [step("program"), step("converted"), step("engine")])
    assert [(rung.name, rung.passed, rung.reason) for rung in rungs] == [
        (name, True, "") for name in ("preprocessing", "program", "converted", "engine")
    ]
    assert rungs[1].agreement == 1.0
    assert rungs[1].cosine == pytest.approx(1.0)


def test_the_first_broken_rung_is_named_and_the_next_is_held_against_it(golden, spec, step, subject):
    def swapped(weights):
        return weights[:, ::-1]

    rungs = climb(golden, spec, [step("program"), step("converted", swapped), step("quantized", swapped)])
    assert [rung.passed for rung in rungs] == [True, True, False, True]
    assert "not looked at" in rungs[0].reason
    assert first_broken(rungs).name == "converted"
    report = prove(subject(swapped), where="build").report
    climbed = with_ladder(report, rungs)
    assert climbed.reasons == (*report.reasons, "first broken rung: converted: converted on linear")
    lines = ladder_lines(climbed)
    assert lines[0].rows[2][2] == "NO"
    assert any(str(line).startswith(" converted: logits: cosine") for line in lines[1:])


@pytest.mark.parametrize(
    ("behaviour", "words"), [("crash", "caught fire"), ("nan", "not finite"), ("wide", "the spec promises")]
)
def test_what_cannot_run_ends_the_ladder(golden, spec, step, behaviour, words):
    rungs = climb(golden, spec, [step("program"), step("converted", behaviour=behaviour), step("engine")])
    assert [rung.name for rung in rungs] == ["preprocessing", "program", "converted"]
    assert words in rungs[-1].reason


def test_what_is_not_there_is_not_looked_at(golden, spec, step):
    def missing():
        msg = "The runtime torch is not installed."
        raise ToolchainMissingError(msg)

    absent = Step(rung="program", subject="the program", tolerance=tolerance_for("fp32"), opened=missing)
    told = replace(absent, rung="device", opened="there is one device")
    rungs = climb(golden, spec, [absent, step("converted"), told])
    assert all(rung.passed for rung in rungs)
    assert rungs[1].reason == "not looked at: The runtime torch is not installed."
    assert rungs[3].reason == "not looked at: there is one device"
    assert rungs[2].cosine == pytest.approx(1.0)


def test_only_onnx_can_be_looked_into(subject):
    linear = subject().variant
    with pytest.raises(UsageError, match="cannot be looked into"):
        check_explainable(linear, None)
    onnx = replace(linear, target=replace(linear.target, format="onnx", precision="int8"))
    with pytest.raises(UsageError, match="no float graph"):
        check_explainable(onnx, None)
    check_explainable(onnx, linear)


def test_the_explanation_as_a_table():
    layer = LayerError(module="head", operator="Gemm", tensor="y", snr_db=12.25, lost_db=3.0)
    table = explanation_table(Explanation(target="a", reference="b", layers=(layer,), samples=1, not_seen=0))
    assert table.rows == [["3.0", "12.2", "Gemm", "head", "y"]]
