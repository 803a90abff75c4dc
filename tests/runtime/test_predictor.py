"""One class for whatever people have: arrays, files, Pillow images, batches. Run by the null engine, whose output is
the mean of the prepared input plus the position, so that every answer can be computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from wherry.core.errors import BadInputError, EngineError, NotFoundError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.interface import NULL_CONTENT
from wherry.runtime.predictor import Opened, Predictor

PICTURES = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, 4, 4)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
    preprocessing=Preprocessing(kind="image", size=(4, 4), scale=1 / 255),
    class_names=("a", "b", "c"),
)
TENSORS = replace(
    PICTURES,
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 2)),),
    preprocessing=Preprocessing(),
)
GREY = np.full((8, 8, 3), 51, np.uint8)


@pytest.fixture
def opened(tmp_path):
    main = tmp_path / "model.null"
    main.write_bytes(NULL_CONTENT)

    def make(spec, **fields):
        return Predictor(Opened(name="m@v1 null", main=main, spec=spec, engine="null", **fields))

    return make


def test_everything_that_is_a_picture_gives_the_same_answer(opened, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "p.png")
    np.save(tmp_path / "p.npy", GREY)
    with opened(PICTURES) as model:
        given = [
            GREY,
            GREY[..., 0],
            tmp_path / "p.png",
            str(tmp_path / "p.png"),
            Image.fromarray(GREY),
            tmp_path / "p.npy",
        ]
        for one in given:
            assert model.predict(one).class_name == "c"
            assert model.predict(one).confidence == pytest.approx(0.2 + 2 / 3)
        assert [one.confidence for one in model.predict(given)] == pytest.approx([0.2 + 2 / 3] * 6)
        assert len(model.predict(np.stack([GREY] * 3))) == 3
        assert len(model.predict(np.stack([GREY[..., 0]] * 3))) == 3
        assert model.predict([]) == []
        assert model.info.engine == "null"


def test_pictures_of_several_sizes_are_one_batch(opened):
    with opened(PICTURES) as model:
        small, large = model.predict([GREY[:3, :5], np.full((20, 9, 3), 255, np.uint8)])
    assert small.confidence == pytest.approx(0.2 + 2 / 3)
    assert large.confidence == pytest.approx(1.0 + 2 / 3)
    with (
        opened(replace(PICTURES, preprocessing=Preprocessing(kind="image"))) as model,
        pytest.raises(BadInputError, match="shape"),
    ):
        model.predict([GREY, GREY[:4]])


def test_more_than_a_chunk_keeps_its_order(opened):
    rows = [np.array([value, value], np.float32) for value in range(70)]
    with opened(TENSORS, batch=4) as model:
        found = list(model.stream(iter(rows)))
    assert [round(float(one.tensors["y"][0])) for one in found] == list(range(70))


def test_tensors(opened, tmp_path):
    np.save(tmp_path / "t.npy", np.array([1, 3], np.float32))
    with opened(TENSORS) as model:
        assert model.predict(np.array([1, 3], np.float32)).tensors["y"][0] == pytest.approx(2.0)
        assert len(model.predict(np.zeros((5, 2), np.float32))) == 5
        assert model.predict(tmp_path / "t.npy").tensors["y"][0] == pytest.approx(2.0)


def test_what_is_no_example(opened, tmp_path):
    (tmp_path / "t.npy").write_text("hello")
    (tmp_path / "t.txt").write_text("hello")
    with opened(TENSORS) as model:
        with pytest.raises(BadInputError, match="not an array of plain numbers"):
            model.predict(tmp_path / "t.npy")
        with pytest.raises(BadInputError, match="takes tensors of shape"):
            model.predict(tmp_path / "t.txt")
        with pytest.raises(BadInputError, match="A int is no example"):
            model.predict(3)
        with pytest.raises(BadInputError, match="A Image is no example"):
            model.predict(Image.fromarray(GREY))
        with pytest.raises(NotFoundError):
            model.predict(tmp_path / "gone.npy")


def test_the_time_of_whole_calls(opened):
    with opened(PICTURES) as model:
        alone = model.benchmark(seconds=0.01)
        assert (alone.batch, alone.samples >= 100) == (1, True)
        assert alone.min_ms <= alone.median_ms <= alone.p95_ms <= alone.max_ms
        assert model.benchmark([GREY, GREY], seconds=0.01).batch == 2
        assert model.benchmark(np.stack([GREY] * 3), seconds=0.01).batch == 3
        with pytest.raises(BadInputError, match="batch is empty"):
            model.benchmark([])
    open_size = replace(TENSORS, inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", "length")),))
    with opened(open_size) as model:
        with pytest.raises(BadInputError, match="no fixed size"):
            model.benchmark()
        assert model.benchmark(np.zeros(7, np.float32), seconds=0.01).samples >= 100
    with opened(TENSORS) as model:
        assert model.benchmark(seconds=0.01).samples >= 100


def test_closing_lets_go_of_the_files_once(tmp_path):
    main, gone = tmp_path / "model.null", []
    main.write_bytes(NULL_CONTENT)
    predictor = Predictor(Opened(name="m", main=main, spec=TENSORS, engine="null"), on_close=lambda: gone.append(1))
    predictor.close()
    predictor.close()
    assert gone == [1]
    main.write_bytes(b"other")
    with pytest.raises(EngineError):
        Predictor(Opened(name="m", main=main, spec=TENSORS, engine="null"))
