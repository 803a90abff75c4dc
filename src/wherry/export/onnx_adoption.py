"""An ONNX file that was registered as the program becomes the ONNX variant as it is."""

import shutil
from pathlib import Path

from wherry.core.errors import BadInputError


def adopt_onnx(program: Path, opset: int | None, main: Path) -> int:
    """Copy the program to `main` and return its opset.

    Raises:
        BadInputError: another opset is asked for; a finished file is not converted.
    """
    import onnx

    model = onnx.load(str(program), load_external_data=False)
    found = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset is not None and opset != found:
        msg = f"This version is an ONNX file of opset {found}, which is not converted to opset {opset}."
        raise BadInputError(msg, next_step=f"Ask for opset {found}, or for none.")
    shutil.copyfile(program, main)
    return found
