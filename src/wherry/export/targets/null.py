"""The null target: a tiny file for the null engine; for tests and dry runs."""

from pathlib import Path

from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.runtime.interface import NULL_CONTENT


class NullExporter(Exporter):
    """Needs no tools and no program."""

    format = "null"
    precisions = ("fp32",)
    engine = "null"
    suffix = ".null"

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        del target
        main = f"model{self.suffix}"
        (out / main).write_bytes(NULL_CONTENT + f"{source.model} v{source.version}\n".encode())
        return Written(main=main, batch=spec_batch(source.spec))
