"""What is light stays light: no framework is imported until something is opened or trained."""

import subprocess
import sys

ROOMS = (
    "wherry.checkpoint.scan",
    "wherry.checkpoint.opening",
    "wherry.checkpoint.capture",
    "wherry.train.run",
    "wherry.train.recipes",
    "wherry.train.lineage",
    "wherry.train.evaluate",
)
FRAMEWORKS = {"torch", "sklearn", "safetensors"}


def imported(*modules: str) -> set[str]:
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_scan_needs_neither_a_framework_nor_numpy() -> None:
    assert imported("wherry.checkpoint.scan") & (FRAMEWORKS | {"numpy"}) == set()


def test_the_rooms_import_no_framework() -> None:
    assert imported(*ROOMS) & FRAMEWORKS == set()
