import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherry.core.errors import NotFoundError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.proof.compare import cosine, output_error, tolerance_for, vacuous, within
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
