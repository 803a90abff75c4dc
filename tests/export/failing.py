"""What the tests of the export room run in child processes: crashes, hangs, and a format of their own."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from wherry.core.codec import from_json
from wherry.core.variant import Target
from wherry.export.child import ExportJob, Made, write_variant
from wherry.export.interface import Exporter, Source, Written
from wherry.export.request import ExportRequest
from wherry.export.run import export_all
from wherry.jobs.child import run_in_child


class EchoExporter(Exporter):
    """Copies the variant that it starts from."""

    format = "echo"
    precisions = ("fp32",)
    engine = "null"
    suffix = ".echo"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        return "pt2-fp32"

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        assert source.parent is not None
        shutil.copyfile(source.parent, out / "model.echo")
        (out / "model.weights").write_bytes(b"beside it")
        return Written(main="model.echo", batch=None, effective={"precision": target.precision})


def crash(job: ExportJob) -> Made:
    sys.stdout.write("half way there\n")
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def hang(job: ExportJob) -> Made:
    Path(job.request.model).write_text(str(os.getpid()))
    time.sleep(300)
    raise AssertionError


def killed_in_the_middle(job: ExportJob) -> Made:
    (Path(job.out) / "model.pt2").write_bytes(b"half a file")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def no_room(job: ExportJob) -> Made:
    """Write as on a disk that has room for four more kilobytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return write_variant(job)


def run_hanging(function: str, spec: ExportJob, result: type[Made], **rest) -> Made:
    return run_in_child("tests.export.failing:hang", spec, result, **rest)


if __name__ == "__main__":
    asked = from_json(Path(sys.argv[1]).read_bytes(), ExportRequest, what="the request")
    export_all([asked], cache=Path(sys.argv[2]), run=run_hanging)
