import numpy as np
import pytest

from wherry.cli.documents import read_examples, read_lineage, read_spec
from wherry.core.codec import to_json
from wherry.core.errors import BadInputError, DocumentError, NotFoundError
from wherry.core.model import Lineage, ModelSpec, TensorSpec

SPEC = ModelSpec(
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 2)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 2)),),
)


def test_spec(tmp_path):
    path = tmp_path / "spec.json"
    path.write_bytes(to_json(SPEC))
    assert read_spec(path) == SPEC
    path.write_bytes(b'{"task": 3}')
    with pytest.raises(DocumentError, match=r"\$\.task"):
        read_spec(path)
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_spec(tmp_path / "gone")


def test_lineage(tmp_path):
    assert read_lineage(None).notes == "registered without lineage"
    lineage = Lineage(timestamp="t", training_images=3, new_images=1)
    path = tmp_path / "lineage.json"
    path.write_bytes(to_json(lineage))
    assert read_lineage(path) == lineage


def test_examples(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, raw=np.zeros((3, 2)), labels=np.array([1, 2, 0], np.int32))
    found = read_examples(path)
    assert found.labels is not None
    assert found.labels.dtype == np.int64
    np.savez(path, raw=np.zeros((3, 2)))
    assert read_examples(path).labels is None
    np.savez(path, other=np.zeros(1))
    with pytest.raises(BadInputError, match="does not hold examples"):
        read_examples(path)
    path.write_bytes(b"nothing")
    with pytest.raises(BadInputError, match=r"numpy\.savez|does not hold"):
        read_examples(path)
    with pytest.raises(NotFoundError):
        read_examples(tmp_path / "gone.npz")
