"""Calibration examples from folders, archives and snapshots: what is taken, what is left out, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from wherry.core.codec import to_json
from wherry.core.errors import BadInputError, NotFoundError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.delivery.calibrating import CalibrationSource, calibrate
from wherry.export.calibration import open_calibration, range_stability
from wherry.proof.golden import GoldenSet
from wherry.proof.record import Examples
from wherry.runtime.preprocess import prepare
from wherry.train.examples import Examples as LabelledImages
from wherry.train.snapshot import snapshot

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 3, 16, 16)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
    preprocessing=Preprocessing(kind="image", size=(16, 16), scale=1 / 255),
    class_names=("cat", "dog"),
)


def picture(seed, size=(40, 24)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def version(registry):
    """A version of an image classifier; its golden set holds pictures 1000 to 1003."""
    raw = np.stack([picture(seed) for seed in range(1000, 1004)])
    golden = GoldenSet(raw=raw, references={"logits": np.eye(4, 2, dtype=np.float32)})
    file = registry.put_bytes("golden.npz", golden.to_bytes())
    return replace(registry.version("m@v1"), spec=SPEC, golden=file, evaluation=None)


@pytest.fixture
def folder(tmp_path):
    """Twelve good pictures in two classes, and six of the kinds that cameras and scanners leave behind."""
    root = tmp_path / "pictures"
    for seed in range(12):
        place = root / ("cat" if seed % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(place / f"{seed:02}.png")
    odd = root / "odd"
    odd.mkdir()
    Image.fromarray(picture(50)).convert("L").save(odd / "grey.png")
    Image.fromarray(picture(51)).convert("CMYK").save(odd / "cmyk.jpg")
    Image.fromarray(picture(52)[..., 0].astype(np.uint16) * 257).save(odd / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(picture(53)).save(odd / "turned.png", exif=exif)
    (odd / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    Image.new("1", (20_000, 6_000)).save(odd / "huge.png")
    return root


def test_a_folder_is_fitted_counted_and_the_unusable_named(registry, version, folder):
    path, manifest = calibrate(registry, version, CalibrationSource(path=folder))
    assert manifest.samples == 16
    assert manifest.per_class == {"cat": 6, "dog": 6}
    assert set(manifest.skipped) == {"odd/broken.jpg", "odd/huge.png"}
    assert "million pixels" in manifest.skipped["odd/huge.png"]
    assert manifest.warnings[0].startswith("Only 16 examples")
    assert manifest.seed is None
    raw = open_calibration(path).raw
    assert raw.shape == (16, 16, 16, 3)
    by_hand = prepare(picture(1)[np.newaxis], SPEC)["image"]
    kept = [prepare(np.asarray(raw[index : index + 1]), SPEC)["image"] for index in range(16)]
    assert any(np.array_equal(by_hand, one) for one in kept), "what is kept is not what the model would see"


def test_a_turned_picture_is_turned_back(registry, version, tmp_path):
    root = tmp_path / "turned"
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(53)).save(root / "a.png", exif=exif)
    path, _ = calibrate(registry, version, CalibrationSource(path=root))
    upright = np.rot90(picture(53), -1)[np.newaxis]
    assert np.array_equal(prepare(upright, SPEC)["image"], prepare(open_calibration(path).raw, SPEC)["image"])


def test_a_choice_by_seed_is_the_same_every_time(registry, version, folder):
    one, two, other = (
        calibrate(registry, version, CalibrationSource(path=folder, samples=5, seed=seed))[1] for seed in (3, 3, 4)
    )
    assert one == two
    assert (one.samples, one.seed) == (5, 3)
    assert other.sha256 != one.sha256


def test_a_picture_of_the_golden_set_is_refused_in_any_size_of_file(registry, version, tmp_path):
    root = tmp_path / "overlap"
    root.mkdir()
    Image.fromarray(picture(1)).save(root / "a.png")
    Image.fromarray(picture(1002)).save(root / "b.png")
    with pytest.raises(BadInputError, match="1 of 4 evaluation examples"):
        calibrate(registry, version, CalibrationSource(path=root))


def test_an_archive_is_read_and_its_labels_are_counted(registry, version, tmp_path):
    raw = np.stack([picture(seed) for seed in range(60)])
    np.savez(tmp_path / "c.npz", raw=raw, labels=np.arange(60) % 2)
    _, manifest = calibrate(registry, version, CalibrationSource(path=tmp_path / "c.npz"))
    assert (manifest.samples, manifest.per_class, manifest.warnings) == (60, {"cat": 30, "dog": 30}, ())
    assert manifest.stability is not None
    assert manifest.stability < 0.1


def test_boxes_and_class_maps_count_for_the_classes_they_show(registry, version):
    raw = np.stack([picture(seed) for seed in range(2)])
    boxes = np.full((2, 3, 5), -1, dtype=np.float32)
    boxes[0, 0] = [1, 2, 2, 8, 8]
    _, manifest = calibrate(registry, version, Examples(raw=raw, labels=boxes))
    assert manifest.per_class == {"cat": 0, "dog": 1}
    maps = np.full((2, 16, 16), 255, dtype=np.uint8)
    maps[:, 0, 0] = 0
    _, manifest = calibrate(registry, version, Examples(raw=raw, labels=maps))
    assert manifest.per_class == {"cat": 2, "dog": 0}


def test_only_what_stands_in_the_snapshot_is_taken(registry, version, tmp_path):
    raw = np.stack([picture(seed) for seed in range(8)])
    np.savez(tmp_path / "c.npz", raw=raw)
    taken = snapshot(LabelledImages(images=raw[:5], labels=np.zeros(5, dtype=np.int64), class_names=("cat", "dog")))
    (tmp_path / "snapshot.json").write_bytes(to_json(taken))
    source = CalibrationSource(path=tmp_path / "c.npz", snapshot=tmp_path / "snapshot.json")
    _, manifest = calibrate(registry, version, source)
    assert manifest.samples == 5
    assert manifest.skipped == {"snapshot.json": "3 examples do not stand in the snapshot."}
    np.savez(tmp_path / "c.npz", raw=raw[5:])
    with pytest.raises(BadInputError, match="None of 3 examples stands in"):
        calibrate(registry, version, source)


@pytest.mark.parametrize("content", [None, b"garbage"])
def test_what_cannot_be_read_is_named(registry, version, tmp_path, content):
    path = tmp_path / "c.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotFoundError if content is None else BadInputError, match=r"c\.npz"):
        calibrate(registry, version, CalibrationSource(path=path))


def test_a_folder_without_pictures_is_refused_with_the_first_reason(registry, version, tmp_path):
    root = tmp_path / "texts"
    root.mkdir()
    (root / "notes.txt").write_text("no picture")
    with pytest.raises(BadInputError, match=r"notes\.txt is not a picture"):
        calibrate(registry, version, CalibrationSource(path=root))
    tensors = replace(version, spec=replace(SPEC, preprocessing=Preprocessing()))
    with pytest.raises(BadInputError, match="the model takes tensors"):
        calibrate(registry, tensors, CalibrationSource(path=root))


def test_two_halves_of_different_light_are_warned_about(registry, version):
    dark = np.stack([picture(seed) // 4 if seed % 2 else picture(seed) for seed in range(60)])
    assert range_stability(dark, SPEC) > 0.5
    _, manifest = calibrate(registry, version, Examples(raw=dark))
    assert any("between two halves" in warning for warning in manifest.warnings)
