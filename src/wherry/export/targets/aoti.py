"""AOTInductor: the program compiled to machine code, in a package that PyTorch loads without compiling anything."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.runtime.program import open_program

_DEVICES = ("cpu", "cuda")


class AotiExporter(Exporter):
    """Compiled for one kind of processor, which the package names and the engine compares.

    On x86-64 that is every processor with AVX2 (the level x86-64-v3, since 2013), so that a package which was made on a
    large server runs on a small one too. `device: cuda` compiles for the kind of GPU that is here.
    """

    format = "aoti"
    precisions = ("fp32",)
    options: ClassVar[Mapping[str, type]] = {"device": str}
    engine = "aoti"
    extra = "train"
    suffix = ".aoti.pt2"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        del target
        return {"torch": ()}

    @classmethod
    def _programs(cls, target: Target) -> tuple[str, ...]:
        del target
        return ("g++", "clang++", "c++")

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        del spec
        device = target.options.get("device", "cpu")
        if device not in _DEVICES:
            return f"The device {device!r} is not one of {', '.join(_DEVICES)}."
        if device == "cuda":
            return None if _has_cuda() else "There is no CUDA GPU here that could be compiled for."
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        import torch
        from torch._inductor import aoti_compile_and_package
        from torch.export.passes import move_to_device_pass

        program, device = open_program(source.program), target.options.get("device", "cpu")
        if device == "cuda":
            program = move_to_device_pass(program, "cuda")
        main = out / f"model{self.suffix}"
        settings = _settings(device)
        with torch.no_grad():  # it adds to the settings that it is given
            facts = {"aot_inductor.metadata": _facts(source)}
            aoti_compile_and_package(program, package_path=str(main), inductor_configs={**settings, **facts})
        effective = {
            "precision": target.precision,
            "device": device,
            "machine": platform.machine(),
            "torch": str(torch.__version__),
            **settings,
        }
        return Written(main=main.name, batch=spec_batch(source.spec), effective=effective)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _settings(device: str) -> dict[str, Any]:
    """Return the compiler's settings: threads are chosen when it runs, instructions when it is compiled."""
    if device == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        return {"cpp.dynamic_threads": True, "cpp.simdlen": 256, "cpp.march": "x86-64-v3"}
    return {"cpp.dynamic_threads": True}


def _facts(source: Source) -> dict[str, str]:
    import torch

    release = ".".join(torch.__version__.split(".")[:2])
    return {"AOTI_TORCH": release, "WHERRY_MODEL": source.model, "WHERRY_VERSION": f"v{source.version}"}
