"""Answers for files: what a model says about each of them, as a plain document and as pictures of the masks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.core.errors import BadInputError, StorageError
from wherry.core.report import EngineInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wherry.runtime.predictor import Predictor
    from wherry.runtime.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model says about one file, or why it cannot say anything."""

    source: str
    answer: dict[str, Any] = field(default_factory=dict)
    """Empty where there is an error. Arrays are lists; masks are counted, and written where a folder was named."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Answers in the order of the files, with what gave them."""

    model: str
    task: str
    engine: EngineInfo
    predictions: tuple[Prediction, ...]


def predict(predictor: "Predictor", sources: Iterable[Path], *, masks: Path | None = None) -> Predictions:
    """Return an answer for each file; one that cannot be read is an error of its own and loses nothing else.

    Args:
        predictor: what `load` returned.
        sources: files, or folders of them.
        masks: folder for one PNG for each file: the class of each pixel, or the number of the object from 1 on.

    Raises:
        EngineError: the runtime failed.
        NotFoundError: a folder does not exist.
        StorageError: the folder for masks cannot be written.
    """
    found = tuple(_one(predictor, path, masks) for path in _files(sources))
    return Predictions(model=predictor.name, task=predictor.spec.task, engine=predictor.info, predictions=found)


def _files(sources: Iterable[Path]) -> Iterator[Path]:
    from wherry.runtime.images import picture_files

    for source in sources:
        if source.is_dir():
            yield from picture_files(source)
        else:
            yield source


def _one(predictor: "Predictor", path: Path, masks: Path | None) -> Prediction:
    from wherry.runtime.results import Detections, Segmentation

    try:
        results = predictor.predict(path)
    except BadInputError as error:
        return Prediction(source=str(path), error=error.message)
    if isinstance(results, list):
        return Prediction(source=str(path), answer={"batch": [describe(one) for one in results]})
    answer = describe(results)
    if masks is not None and isinstance(results, (Detections, Segmentation)):
        picture = _picture(results)
        if picture is not None:
            answer["mask"] = str(_written(picture, masks / f"{path.stem}.png"))
    return Prediction(source=str(path), answer=answer)


def describe(result: "Result") -> dict[str, Any]:
    """Return a result as plain numbers and text, for JSON."""
    from wherry.core.codec import to_builtins
    from wherry.runtime.results import Classification, Detections, Embedding, PolicyValue, Segmentation

    if isinstance(result, Classification):
        return {
            "class_name": result.class_name,
            "class_index": result.class_index,
            "confidence": result.confidence,
            "top": to_builtins(result.top),
            "probabilities": result.probabilities.tolist(),
        }
    if isinstance(result, Detections):
        return {"size": result.size, "found": [_detection(one) for one in result.found]}
    if isinstance(result, Segmentation):
        return {"size": list(result.classes.shape), "shares": result.shares}
    if isinstance(result, Embedding):
        return {"vector": result.vector.tolist()}
    if isinstance(result, PolicyValue):
        return {
            "move": result.move,
            "probability": result.probability,
            "value": result.value,
            "top": to_builtins(result.top),
        }
    return {"outputs": {name: array.tolist() for name, array in result.tensors.items()}}


def _detection(one: Any) -> dict[str, Any]:
    found = {"name": one.name, "index": one.index, "score": one.score, "box": list(one.box)}
    return found if one.mask is None else {**found, "mask_pixels": int(one.mask.sum())}


def _picture(result: Any) -> "NDArray[np.uint8] | None":
    """Return the classes, or the numbers of the objects (the better one in front), as grey values; at most 255."""
    import numpy as np

    if hasattr(result, "classes"):
        return np.asarray(np.minimum(result.classes, 255), dtype=np.uint8)
    numbered = [(number, one.mask) for number, one in enumerate(result.found[:255], 1) if one.mask is not None]
    if not numbered:
        return None
    picture = np.zeros(numbered[0][1].shape, dtype=np.uint8)
    for number, mask in reversed(numbered):
        picture[mask] = number
    return picture


def _written(picture: "NDArray[np.uint8]", path: Path) -> Path:
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}."
        raise StorageError(msg) from error
    return path
