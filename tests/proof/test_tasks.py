"""Each task on answers that agree, that differ and that are hollow, with numbers by hand."""

import numpy as np
import pytest

from tests.proof.task_specs import classification, detection, embedding, policy_value, segmentation, tensor
from wherry.core.model import ModelSpec
from wherry.proof.tasks import task_metric

RANDOM = np.random.default_rng(0)


def logits(maps, classes=3):
    """Logits of class maps (N, height, width)."""
    return np.moveaxis(np.eye(classes, dtype=np.float32)[np.asarray(maps)], -1, 1) * 4 - 2


def halves(column, samples=2):
    """Class 0 to the left of the column, class 1 to the right."""
    return np.repeat((np.arange(8) >= column).astype(int)[None, None].repeat(8, axis=1), samples, axis=0)


class TestSegmentation:
    task = task_metric("segmentation")

    def test_agreement(self):
        spec = segmentation()
        same = self.task.agreement({"y": logits(halves(4))}, {"y": logits(halves(4))}, spec)
        assert same == {"agreement": 1.0, "reference_overlap": 1.0, "boundary_agreement": 1.0}
        moved = self.task.agreement({"y": logits(halves(5))}, {"y": logits(halves(4))}, spec)
        assert moved["agreement"] == pytest.approx(7 / 8)
        assert moved["boundary_agreement"] == pytest.approx(3 / 4)  # the band is two columns to each side
        assert moved["reference_overlap"] == pytest.approx((4 / 5 + 3 / 4) / 2)

    def test_quality(self):
        spec = segmentation(names=("sky", "sea", "sand"))
        labels = halves(4)
        labels[:, 0] = 255
        found = self.task.quality({"y": logits(halves(5))}, labels, spec)
        assert found == pytest.approx(
            {"miou": (4 / 5 + 3 / 4) / 2, "pixel_accuracy": 7 / 8, "iou.sky": 4 / 5, "iou.sea": 3 / 4}
        )
        assert self.task.quality({"y": logits(halves(5))}, np.full((2, 8, 8), 255), spec) is None

    def test_one_logit_is_a_foreground(self):
        spec = segmentation(classes=1, names=("fire",))
        outputs = {"y": (halves(4)[:, None] * 2.0 - 1.0).astype(np.float32)}
        found = self.task.quality(outputs, halves(4), spec)
        assert found == {"miou": 1.0, "pixel_accuracy": 1.0, "iou.background": 1.0, "iou.fire": 1.0}
        assert self.task.agreement(outputs, outputs, spec)["agreement"] == 1.0

    def test_chunks_give_what_the_whole_gives(self):
        got, want = (RANDOM.normal(size=(7, 3, 8, 8)).astype(np.float32) for _ in range(2))
        spec, labels = segmentation(), RANDOM.integers(0, 3, (7, 8, 8))
        comparing, scoring = self.task.comparing(spec), self.task.scoring(spec)
        for start in range(0, 7, 3):
            rows = slice(start, start + 3)
            comparing.update({"y": got[rows]}, {"y": want[rows]})
            scoring.update({"y": got[rows]}, labels[rows])
        assert comparing.result() == pytest.approx(self.task.agreement({"y": got}, {"y": want}, spec))
        assert scoring.result() == pytest.approx(self.task.quality({"y": got}, labels, spec))

    def test_vacuous(self):
        assert "same class" in self.task.vacuous({"y": logits(halves(0, samples=3))}, segmentation())
        assert self.task.vacuous({"y": logits(halves(4))}, segmentation()) is None
        two = np.concatenate([halves(0), halves(8)])
        assert self.task.vacuous({"y": logits(two)}, segmentation()) is None

    def test_labels_and_spec(self):
        spec = segmentation()
        assert self.task.check(spec) is None
        assert "this output" in self.task.check(classification())
        assert "2 class names" in self.task.check(segmentation(names=("a", "b")))
        assert self.task.check_labels(np.full((2, 8, 8), 255, np.uint8), spec) is None
        assert "[4, 4] pixels" in self.task.check_labels(np.zeros((2, 4, 4), int), spec)
        assert "whole numbers" in self.task.check_labels(np.zeros((2, 8, 8)), spec)
        assert "3 classes" in self.task.check_labels(np.full((2, 8, 8), 3), spec)


def boxes(*rows, anchors=6):
    """Outputs of one image from rows of (x1, y1, x2, y2, score, class)."""
    made = {"boxes": np.zeros((1, 4, anchors), np.float32), "scores": np.zeros((1, 2, anchors), np.float32)}
    made["boxes"][0, :2], made["boxes"][0, 2:] = 5.0, 2.0
    for index, (x1, y1, x2, y2, score, kind) in enumerate(rows):
        made["boxes"][0, :, index] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        made["scores"][0, kind, index] = score
    return made


def images(*several):
    return {name: np.concatenate([one[name] for one in several]) for name in several[0]}


class TestDetection:
    task = task_metric("detection")
    A, B = (0, 0, 10, 10, 0.9, 0), (30, 30, 50, 50, 0.6, 1)

    def test_equal_runs(self):
        both = boxes(self.A, self.B)
        assert self.task.agreement(both, both, detection()) == {
            "agreement": 1.0,
            "count_parity": 1.0,
            "matched": 2.0,
            "box_iou": 1.0,
            "confidence_drift": 0.0,
            "confidence_drift_max": 0.0,
        }

    def test_a_missing_box_and_a_wrong_class(self):
        missing = self.task.agreement(boxes(self.A), boxes(self.A, self.B), detection())
        assert missing["agreement"] == pytest.approx(2 / 3)
        assert missing["count_parity"] == 0.0
        other = self.task.agreement(boxes(self.A, (*self.B[:5], 0)), boxes(self.A, self.B), detection())
        assert (other["agreement"], other["count_parity"]) == (0.5, 1.0)
        moved = self.task.agreement(boxes((5, 0, 15, 10, 0.9, 0)), boxes(self.A), detection())
        assert moved["agreement"] == 0.0
        assert "box_iou" not in moved

    def test_overlap_and_drift(self):
        got = boxes((2, 0, 12, 10, 0.8, 0), (30, 30, 50, 50, 0.7, 1))
        found = self.task.agreement(got, boxes(self.A, self.B), detection())
        assert found["agreement"] == 1.0
        assert found["box_iou"] == pytest.approx((8 / 12 + 1) / 2)
        assert found["confidence_drift"] == pytest.approx(0.0, abs=1e-6)
        assert found["confidence_drift_max"] == pytest.approx(0.1)

    def test_a_box_that_crosses_the_threshold_by_a_hair_is_still_there(self):
        sure, hardly, gone = ((*self.B[:4], score, 1) for score in (0.251, 0.249, 0.1))
        assert self.task.agreement(boxes(hardly), boxes(sure), detection())["agreement"] == 1.0
        assert self.task.agreement(boxes(sure), boxes(hardly), detection())["agreement"] == 1.0
        assert self.task.agreement(boxes(gone), boxes(sure), detection())["agreement"] == 0.0

    def test_the_mean_is_over_images_with_something_on_them(self):
        got = images(boxes(self.A), boxes(), boxes())
        want = images(boxes(self.A), boxes(self.B), boxes())
        found = self.task.agreement(got, want, detection())
        assert found["agreement"] == 0.5
        assert found["count_parity"] == pytest.approx(2 / 3)
        assert self.task.agreement(boxes(), boxes(), detection())["agreement"] == 1.0

    def test_masks(self):
        prototypes = np.zeros((1, 2, 16, 16), np.float32)
        prototypes[0, 0], prototypes[0, 1] = 1.0, -1.0
        prototypes[0, 1, :, :5] = 1.0  # 20 of 64 columns of the input
        whole, part = np.zeros((1, 2, 6), np.float32), np.zeros((1, 2, 6), np.float32)
        whole[0, 0], part[0, 1] = 1.0, 1.0
        box = boxes((10, 10, 30, 30, 0.9, 0))
        got = box | {"coefficients": part, "prototypes": prototypes}
        want = box | {"coefficients": whole, "prototypes": prototypes}
        spec = detection(masks=True)
        assert self.task.agreement(want, want, spec)["mask_iou"] == 1.0
        assert self.task.agreement(got, want, spec)["mask_iou"] == pytest.approx(0.5, abs=0.05)

    def test_quality(self):
        labels = np.full((1, 3, 5), -1.0, np.float32)
        labels[0, 0], labels[0, 1] = (0, 0, 0, 10, 10), (1, 30, 30, 50, 50)
        assert self.task.quality(boxes(self.A, self.B), labels, detection()) == {"map": 1.0, "map50": 1.0}
        half = self.task.quality(boxes(self.A), labels, detection())
        assert half == {"map": 0.5, "map50": 0.5}
        assert self.task.quality(boxes(self.A), np.full((1, 3, 5), -1.0), detection()) is None

    def test_vacuous(self):
        assert "finds nothing" in self.task.vacuous(boxes((0, 0, 9, 9, 0.2, 0)), detection())
        assert self.task.vacuous(boxes(self.A), detection()) is None

    def test_labels_and_spec(self):
        assert self.task.check(detection()) is None
        assert self.task.check(detection(masks=True)) is None
        assert "a detector gives" in self.task.check(classification())
        assert "3 class names" in self.task.check(detection(names=("a", "b", "c")))
        turned = ModelSpec(
            task="detection", inputs=(tensor("x", 3),), outputs=(tensor("s", 2, "a"), tensor("b", 4, "a"))
        )
        assert "boxes are" in self.task.check(turned)
        assert self.task.check_labels(np.full((2, 3, 5), -1.0), detection()) is None
        assert "[samples, most, 5]" in self.task.check_labels(np.zeros((2, 3)), detection())
        assert "2 classes" in self.task.check_labels(np.full((2, 3, 5), 2.0), detection())


class TestPolicyValue:
    task = task_metric("policy_value")

    def test_agreement_and_quality(self):
        want = {"p": np.log([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]]), "v": np.array([[0.5], [-0.5]])}
        got = {"p": np.log([[0.7, 0.1, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]]), "v": np.array([[0.5], [0.0]])}
        found = self.task.agreement(got, want, policy_value())
        assert found == pytest.approx(
            {"agreement": 0.5, "policy_kl_nats": 0.6 * np.log(7) / 2, "value_mae": 0.25, "finite": 1.0}
        )
        assert self.task.quality(got, np.array([0, 1]), policy_value()) == {"move_accuracy": 0.5}

    def test_vacuous_and_spec(self):
        one = {"p": np.array([[1.0, 0, 0, 0], [2.0, 0, 0, 0]]), "v": np.zeros((2, 1))}
        assert "same move" in self.task.vacuous(one, policy_value())
        assert self.task.vacuous(one | {"p": one["p"] * [[1], [-1]]}, policy_value()) is None
        assert self.task.check(policy_value()) is None
        assert "policy and value" in self.task.check(classification())
        assert "4 classes" in self.task.check_labels(np.array([4]), policy_value())
        assert self.task.check_labels(np.array([3]), policy_value()) is None


class TestEmbedding:
    task = task_metric("embedding")

    def test_agreement(self):
        want = np.array([[1.0, 0, 0, 0], [0, 2.0, 0, 0]])
        got = np.array([[3.0, 0, 0, 0], [0, 1.0, 1.0, 0]])
        found = self.task.agreement({"e": got}, {"e": want}, embedding())
        cosines = 1.0, 1 / np.sqrt(2)
        expected = {"agreement": 0.5, "cosine_mean": np.mean(cosines), "cosine_min": min(cosines), "nmse": 6 / 5}
        assert found == pytest.approx(expected)

    def test_quality_is_the_nearest_neighbours(self):
        points = np.array([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9], [0.8, 0.3]])
        assert self.task.quality({"e": points}, np.array([0, 0, 1, 1, 1]), embedding(2)) == {"knn_accuracy": 0.8}
        assert self.task.quality({"e": points[:1]}, np.array([0]), embedding(2)) is None

    def test_vacuous_and_spec(self):
        line = np.arange(1.0, 5.0)[:, None] * np.array([[1.0, 2.0, 3.0, 4.0]])
        assert "same direction" in self.task.vacuous({"e": line}, embedding())
        assert self.task.vacuous({"e": RANDOM.normal(size=(4, 4))}, embedding()) is None
        assert self.task.check(embedding()) is None
        assert "an embedding" in self.task.check(segmentation())
        assert self.task.check_labels(np.array([7]), embedding()) is None
        assert "whole number" in self.task.check_labels(np.array([0.5]), embedding())


def test_classification_labels():
    task = task_metric("classification")
    assert task.check_labels(np.array([0, 2]), classification()) is None
    assert "3 classes" in task.check_labels(np.array([0, 3]), classification())
    assert "whole number" in task.check_labels(np.zeros((2, 2), int), classification())
