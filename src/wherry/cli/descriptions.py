"""What a person says of a network on the command line, as a description."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from wherry.core.errors import BadInputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from wherry.checkpoint.describe import Description


def describe_by_words(
    task: str,
    input_size: str | None,
    input_shape: str | None,
    channels: int,
    preset: str,
    mean: str | None,
    std: str | None,
    *,
    classes: int | None,
    class_names: Path | None,
) -> "Description":
    """Return the description that these options make.

    Raises:
        UsageError: a word or a number is not one that the option takes.
        NotFoundError: the file of class names is not there.
    """
    from wherry.checkpoint.describe import Description, Preset

    known: tuple[Preset, ...] = get_args(Preset)
    chosen = next((word for word in known if word == preset), None)
    if chosen is None:
        msg = f"{preset!r} is no preset."
        raise UsageError(msg, next_step=f"Use one of {', '.join(known)}.")
    size = None if input_size is None else _whole(input_size.replace("x", ","), "--input-size")
    if size is not None and len(size) > 2:
        msg = f"{input_size!r} is not the size of an image."
        raise UsageError(msg, next_step="Write 224, or height x width as 240x320.")
    if channels not in (1, 3):
        msg = f"An image of {channels} channels is not known."
        raise UsageError(msg, next_step="Use 3 or 1, or --input-shape for other inputs.")
    return Description(
        task=task,
        input_size=None if size is None else (size[0], size[-1]),
        input_shape=None if input_shape is None else _whole(input_shape, "--input-shape"),
        channels=1 if channels == 1 else 3,
        preset=chosen,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        classes=classes,
        class_names=() if class_names is None else _names(class_names),
    )


def _whole(text: str, option: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        msg = f"{option} takes whole numbers above 0, and {text!r} is none."
        raise UsageError(msg)
    return found


def _numbers(text: str | None, option: str) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{option} takes numbers with commas between them, and {text!r} is none."
        raise UsageError(msg, next_step="Write for example 0.485,0.456,0.406.") from error


def _names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="Check the path of the class names.") from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not text."
        raise BadInputError(msg, next_step="Write one class name on each line, in UTF-8.") from error
    return tuple(line.strip() for line in lines if line.strip())
