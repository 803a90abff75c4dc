import pytest

from wherry.core.errors import BadInputError, NotFoundError
from wherry.proof.choose import Constraints
from wherry.proof.gates import constraints_from, read_gates

SHELVES = """
[unet-resnet34]
fps = 35
latency_ms = 28
memory_gb = 4
miou = 0.80

[yolov8n-seg]
fps = 60
p95_ms = 17.5
size_mb = 12
max_drop = 1
"""


def test_a_table_for_each_model(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text(SHELVES)
    assert read_gates(path, "unet-resnet34") == Constraints(
        min_fps=35, max_end_to_end_ms=28, max_memory_mb=4000, min_metrics={"miou": 0.80}
    )
    assert read_gates(path, "yolov8n-seg") == Constraints(
        min_fps=60, max_p95_ms=17.5, max_size_mb=12, max_quality_drop=0.01
    )
    with pytest.raises(NotFoundError, match="gates for unet-resnet34, yolov8n-seg, and none for other"):
        read_gates(path, "other")


def test_json_and_flat(tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text('{"latency_ms": 28, "accuracy": 0.9}')
    assert read_gates(path, "any") == Constraints(max_end_to_end_ms=28, min_metrics={"accuracy": 0.9})


@pytest.mark.parametrize(
    ("found", "word"), [({"fps": "fast"}, "'fast'"), ({"fps": True}, "True"), ({}, "no gates"), ([1], "no gates")]
)
def test_what_is_no_gate(found, word):
    with pytest.raises(BadInputError, match=word):
        constraints_from(found, "m")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(NotFoundError):
        read_gates(tmp_path / "gone.toml", "m")
    (tmp_path / "bad.toml").write_text("fps = ")
    with pytest.raises(BadInputError, match="not a file of gates"):
        read_gates(tmp_path / "bad.toml", "m")
