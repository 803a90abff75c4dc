"""Picture files to raw examples: uint8 RGB as the eye sees it, or one clear sentence why not.

Decoding is where files of strangers meet a C library, so little is let in: formats by an allow-list (no PostScript,
which starts a program), one picture per file, and no more pixels than `MAX_PIXELS`, counted before decoding.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError, NotFoundError, ToolchainMissingError, WherryError

if TYPE_CHECKING:
    from PIL import Image as Pillow

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded: 300 MB as RGB. A phone's largest has 200 million; nobody feeds that to a network."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_DIRECT = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBA", "LA", "RGBX", "PA")
_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")

RawImage = NDArray[np.uint8]
"""Height x width x 3, RGB, 0 to 255."""


def read_image(path: Path) -> RawImage:
    """Return the picture in a file as (height, width, 3) uint8 RGB, turned as its EXIF orientation says.

    Greyscale becomes three equal channels; 16-bit greyscale is divided by 257 and rounded; CMYK is converted by
    Pillow's plain formula, without a colour profile. An alpha channel is dropped where every pixel is opaque.

    Raises:
        NotFoundError: there is no such file.
        BadInputError: it is no picture of a known format, is damaged or too large, holds several pictures, has
            transparent pixels, or has numbers without a known range (32-bit, floating point).
        ToolchainMissingError: Pillow is not installed.
    """
    image_module = _pillow()
    if not path.is_file():
        msg = f"There is no file {path}."
        raise NotFoundError(msg, next_step="Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; what matters is checked here
            with image_module.open(path, formats=FORMATS) as image:
                return image_array(image, path.name)
    except WherryError:
        raise
    except image_module.DecompressionBombError as error:
        raise _too_large(path.name) from error
    except image_module.UnidentifiedImageError as error:
        msg = f"{path.name} is not a picture of a known kind ({', '.join(FORMATS)})."
        raise BadInputError(msg, next_step="Convert it to PNG or JPEG.") from error
    except Exception as error:  # a decoder fails in as many ways as there are damaged files
        msg = f"{path.name} is damaged: {_sentence(error)}"
        raise BadInputError(msg, next_step="Get the file again, or leave it out.") from error


def image_array(image: "Pillow.Image", name: str = "The picture") -> RawImage:
    """Return an opened Pillow image as `read_image` does.

    Args:
        image: any Pillow image.
        name: what it is called in an error.

    Raises:
        BadInputError: as for `read_image`.
    """
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # a phone's MPO: the picture, then its previews
        msg = f"{name} holds {getattr(image, 'n_frames', 1)} pictures, and one is expected."
        raise BadInputError(msg, next_step="Save the picture that is meant as a file of its own.")
    turned = ImageOps.exif_transpose(image)
    if turned.mode in _SIXTEEN:
        return _grey(np.asarray(turned))
    if turned.mode not in _DIRECT:
        msg = f"{name} has pixels of the kind {turned.mode!r}, whose range is not known."
        raise BadInputError(msg, next_step="Save it with 8 or 16 bits a channel.")
    if turned.has_transparency_data:
        _check_opaque(turned, name)
    return np.array(turned.convert("RGB"), dtype=np.uint8)


def is_picture(thing: object) -> "TypeGuard[Pillow.Image]":
    """Return whether `thing` is a Pillow image, without importing Pillow for something else."""
    if not type(thing).__module__.startswith("PIL."):
        return False
    return isinstance(thing, _pillow().Image)


def picture_files(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder` in the order of the paths; hidden ones and links to folders are left out.

    Raises:
        NotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        msg = f"There is no folder {folder}."
        raise NotFoundError(msg, next_step="Check the path.")
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def read_folder(folder: Path) -> Iterator[tuple[Path, RawImage | str]]:
    """Yield each file below `folder` with its picture, or with the sentence that says why it cannot be used.

    One picture is in memory at a time. The order is that of the paths, so it is the same on every machine.

    Raises:
        NotFoundError: there is no such folder.
        ToolchainMissingError: Pillow is not installed.
    """
    _pillow()
    for path in picture_files(folder):
        try:
            yield path, read_image(path)
        except BadInputError as error:
            yield path, error.message


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError as error:
        msg = "Pillow is not installed, and pictures have to be read."
        raise ToolchainMissingError(msg, next_step="Run: pip install 'wherry[device]'") from error
    return PIL.Image


def _grey(values: NDArray[Any]) -> RawImage:
    eight = (values.astype(np.uint32) + 128) // 257  # 65535 / 255
    return np.repeat(eight.astype(np.uint8)[..., np.newaxis], 3, axis=-1)


def _check_opaque(image: "Pillow.Image", name: str) -> None:
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if int(alpha.min(initial=255)) < 255:
        share = float(np.mean(alpha < 255))
        msg = f"{name} is transparent on {share:.1%} of its pixels, and what should be seen behind them is not known."
        raise BadInputError(msg, next_step="Flatten it onto the background that the network was trained with.")


def _too_large(name: str) -> BadInputError:
    msg = f"{name} has more than {MAX_PIXELS // 10**6} million pixels and was not decoded."
    return BadInputError(msg, next_step="Give a smaller picture.")


def _sentence(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return text if text.endswith(".") else f"{text}."
