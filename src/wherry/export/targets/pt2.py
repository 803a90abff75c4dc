"""The captured program itself, for the torch engine."""

import shutil
from pathlib import Path

from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch


class Pt2Exporter(Exporter):
    """Copies the program byte for byte, so that a bundle which holds both stores it once; needs no torch."""

    format = "pt2"
    precisions = ("fp32",)
    engine = "torch"
    suffix = ".pt2"

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        main = f"model{self.suffix}"
        shutil.copyfile(source.program, out / main)
        return Written(
            main=main, batch=spec_batch(source.spec), effective={"precision": target.precision, "copy": True}
        )
