import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherry.core.errors import NotFoundError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.proof.compare import OutputTally, cosine, output_error, scale_of, tolerance_for, vacuous, within
from wherry.proof.tasks import TASKS, task_metric

FINITE = st.floats(-100, 100, width=32)


def test_numbers_by_hand():
    error = output_error("y", np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert error.max_abs == 1.0
    assert error.mean_abs == 0.25
    assert error.snr_db == pytest.approx(10 * math.log10(30 / 1))
    assert error.cosine == pytest.approx((1 + 4 + 9 + 20) / math.sqrt(39 * 30))


@given(hnp.arrays(np.float32, (3, 4), elements=FINITE))
def test_an_output_equals_itself(array):
    error = output_error("y", array, array)
    assert (error.max_abs, error.mean_abs, error.snr_db) == (0.0, 0.0, None)
    assert error.cosine == pytest.approx(1.0)
    assert within(error, tolerance_for("fp32")) == ()


def test_zero_vectors():
    zero, one = np.zeros(3), np.ones(3)
    assert cosine(zero, zero) == 1.0
    assert cosine(zero, one) == 0.0


def test_the_largest_error_is_measured_against_the_outputs_scale():
    boxes = np.linspace(0, 640, 1000).reshape(10, 100)
    error = output_error("boxes", boxes + 0.9, boxes)
    assert error.scale == pytest.approx(633.6, abs=1)
    assert within(error, tolerance_for("fp32")) == (f"boxes: cosine {error.cosine:.7f} is below 0.9999995",)
    assert (
        "largest error 1.5 is above 1.27" in within(output_error("boxes", boxes + 1.5, boxes), tolerance_for("fp32"))[1]
    )
    assert output_error("scores", boxes / 640, boxes / 640).scale == 1.0


def test_chunks_give_what_the_whole_gives():
    got, want = (np.random.default_rng(seed).normal(size=(11, 7)) for seed in (0, 1))
    tally = OutputTally("y", scale_of(want))
    for start in range(0, 11, 4):
        tally.update(got[start : start + 4], want[start : start + 4])
    whole = output_error("y", got, want)
    for field in ("max_abs", "mean_abs", "cosine", "snr_db", "scale"):
        assert getattr(tally.result(), field) == pytest.approx(getattr(whole, field))
    assert whole.cosine == pytest.approx(cosine(got.ravel(), want.ravel()))
    assert tally.vacuous() is None


def test_tolerances_get_stricter_with_the_precision():
    order = ["int8", "int8-dynamic", "int8-weights", "fp16", "fp32"]
    cosines = [tolerance_for(name).min_cosine for name in order]
    assert cosines == sorted(cosines)
    assert len(set(cosines)) == len(order)


def test_not_a_number_breaks_every_bound():
    error = output_error("y", np.array([[np.nan]]), np.array([[1.0]]))
    assert len(within(error, tolerance_for("fp32"))) == 2


def test_unknown_precision_is_the_strictest():
    assert tolerance_for("fp7") == tolerance_for("fp32")
    assert tolerance_for("int8").max_abs is None


def test_vacuous():
    assert vacuous("y", np.array([[1.0, 2.0], [1.0, 2.0]])) is not None
    assert vacuous("y", np.array([[1.0, 2.0], [1.0, 2.5]])) is None
    assert vacuous("y", np.array([[1.0, 2.0]])) is None
    assert "finite" in str(vacuous("y", np.array([[np.inf], [0.0]])))


def _spec(shape, names=()):
    return ModelSpec(
        task="classification",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 2)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=shape),),
        class_names=names,
    )


def test_classification_by_hand():
    task = task_metric("classification")
    want = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    got = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]]))
    numbers = task.agreement({"y": got}, {"y": want}, _spec(("batch", 3)))
    assert numbers["top1_agreement"] == numbers["agreement"] == 0.5
    assert numbers["top5_agreement"] == 1.0
    assert numbers["confidence_drift"] == pytest.approx((0.0 - 0.4) / 2)
    assert numbers["kl_nats"] == pytest.approx((0.1 * math.log(0.1 / 0.5) + 0.8 * math.log(2)) / 2)
    assert task.quality({"y": got}, np.array([0, 1]), _spec(("batch", 3))) == {"accuracy": 0.5}


def test_classification_checks_the_spec():
    task = task_metric("classification")
    assert task.check(_spec(("batch", 3), ("a", "b", "c"))) is None
    assert task.check(_spec(("batch", 3))) is None
    assert "2 class names" in str(task.check(_spec(("batch", 3), ("a", "b"))))
    assert "[batch, classes]" in str(task.check(_spec(("batch", "classes"))))
    assert "[batch, classes]" in str(task.check(_spec(("batch", 3, 4))))


def test_null_task():
    task = task_metric("null")
    spec = _spec(("batch", 3))
    references = {"y": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}
    outputs = {"y": np.array([[1.0, 2.0, 3.001], [4.0, 5.0, 7.0]])}
    assert task.check(spec) is None
    assert task.agreement(outputs, references, spec) == {"agreement": 0.5}
    assert task.quality(outputs, np.array([0, 1]), spec) is None
    assert task.vacuous(references, spec) is None


def test_every_member_of_the_table_can_be_had():
    for name in TASKS:
        assert task_metric(name).name == name
    with pytest.raises(NotFoundError, match="no task"):
        task_metric("poetry")


def test_a_pruned_network_may_differ_in_its_numbers_and_not_in_its_answers():
    assert tolerance_for("fp32", pruned=True) == tolerance_for("int8")
    assert tolerance_for("fp32", pruned=True).min_agreement < tolerance_for("fp32").min_agreement
