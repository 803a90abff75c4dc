"""Runs an AOTInductor package: machine code that PyTorch's compiler made for one kind of processor or GPU.

The package is a shared library and is loaded into this process: whoever wrote it decides what the process does, so it
is opened only where somebody vouches for it, as the signature of a bundle does. What it was compiled for stands in the
package and is compared with this machine before the library is touched; PyTorch itself would only warn.
"""

import json
import platform
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherry.core.errors import EngineError
from wherry.runtime.torch_family import TorchFamilyEngine

_RUNS = {"AVX2": ("AVX2", "AVX512"), "AVX512": ("AVX512",)}
"""Instruction sets that a package may be compiled for -> what PyTorch must find in a processor that runs them."""
_REMEDY = "Export the variant on a machine like this one, or choose another target."


class AotiEngine(TorchFamilyEngine):
    """Runs on the device that the package was compiled for, and on no other."""

    name = "aoti"
    devices = ("cpu", "gpu")

    _facts: dict[str, str]

    def _open(self, path: Path) -> Callable[..., Any]:
        from torch._inductor import aoti_load_package

        self._facts = _facts(path)
        _check(self._facts, self._where.type)
        model: Callable[..., Any] = aoti_load_package(str(path))
        return model

    def _effective(self) -> dict[str, object]:
        made_for = {key.removeprefix("AOTI_").lower(): value for key, value in sorted(self._facts.items()) if value}
        return {"threads": self._threads, "made_for": made_for}


def _facts(path: Path) -> dict[str, str]:
    """Return what the package says about itself; nothing is loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("wrapper_metadata.json")]
            found = json.loads(archive.read(names[0])) if names else {}
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        msg = f"{path.name} is not an AOTInductor package."
        raise EngineError(msg, next_step=_REMEDY) from error
    if not isinstance(found, dict) or "AOTI_DEVICE_KEY" not in found:
        msg = f"{path.name} does not say what it was compiled for."
        raise EngineError(msg, next_step=_REMEDY)
    return {str(key): str(value) for key, value in found.items()}


def _check(facts: dict[str, str], device: str) -> None:
    import torch

    here = {
        "AOTI_DEVICE_KEY": device,
        "AOTI_PLATFORM": sys.platform,
        "AOTI_MACHINE": platform.machine(),
        "AOTI_TORCH": _release(torch.__version__),
    }
    for key, value in here.items():
        wanted = facts.get(key, value)
        if wanted != value:
            msg = f"The package was compiled for {key.removeprefix('AOTI_').lower()} {wanted}, and this is {value}."
            raise EngineError(msg, next_step=_REMEDY)
    wanted, here_too = facts.get("AOTI_CPU_ISA", ""), torch.backends.cpu.get_cpu_capability()
    if device == "cpu" and here_too not in _RUNS.get(wanted, (here_too,)):
        msg = f"The package needs a processor with {wanted}, and PyTorch finds {here_too} here."
        raise EngineError(msg, next_step=_REMEDY)
    if device == "cuda":
        wanted, found = facts.get("AOTI_COMPUTE_CAPABILITY", ""), torch.cuda.get_device_capability()
        if wanted and wanted != f"{found[0]}{found[1]}":
            msg = f"The package was compiled for GPUs of compute capability {wanted}, and this one has {found}."
            raise EngineError(msg, next_step=_REMEDY)


def _release(version: str) -> str:
    """Return `2.13` for `2.13.0+cu130`: the binary interface may change with either number."""
    return ".".join(version.split(".")[:2])
