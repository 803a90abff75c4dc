"""Several processes at once: no number is lost, none is given twice, and every move is seen."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.core.codec import to_json
from wherry.registry import Registry
from wherry.registry.tree import refresh

pytestmark = pytest.mark.slow
WORKERS, ROUNDS = 3, 4

WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from wherry.core.codec import from_json
from wherry.core.errors import ConflictError
from wherry.core.model import VersionDraft
from wherry.registry import Registry
from wherry.registry.tree import refresh

root, draft_file, name, rounds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
draft = from_json(draft_file.read_bytes(), VersionDraft, what="the draft")
print("ready", flush=True)
sys.stdin.readline()
lost = 0
with Registry.open(root) as registry:
    for path in ("program.pt2", "weights.pt", "golden.npz"):
        registry.put_bytes(path, path.encode() * 50_000)
    registry.register(draft, who=name, why="the same for all")
    for turn in range(rounds):
        version = registry.register(replace(draft, architecture=f"{name} {turn}"), who=name, why="own")
        live = registry.aliases(draft.model).get("production")
        try:
            registry.promote(version.name, "production", who=name, why="mine", expected=live)
        except ConflictError:
            lost += 1
            registry.promote(version.name, "production", who=name, why="mine anyway")
        registry.next_release("EmberEye", draft.model, version.number, who=name, why="ship")
    refresh(registry, draft.model, "EmberEye")
print(lost)
"""


def test_processes_that_open_register_and_promote_at_once(tmp_path: Path, make_draft: Callable[..., Any]) -> None:
    with Registry.open(tmp_path / "elsewhere") as other:
        draft = make_draft(
            other,
            program=other.put_bytes("program.pt2", b"program.pt2" * 50_000),
            checkpoint=(other.put_bytes("weights.pt", b"weights.pt" * 50_000),),
            golden=other.put_bytes("golden.npz", b"golden.npz" * 50_000),
        )
    (tmp_path / "draft.json").write_bytes(to_json(draft))
    root = tmp_path / "registry"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root), str(tmp_path / "draft.json"), f"worker-{number}", str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WORKERS)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors
    total = 1 + WORKERS * ROUNDS
    with Registry.open(root, create=False) as registry:
        numbers = [version.number for version in registry.versions(draft.model, limit=1000)]
        assert numbers == list(range(total, 0, -1))
        history = registry.events(draft.model, limit=1000)
        assert [event.seq for event in history] == list(range(len(history), 0, -1))
        releases = sorted(event.details["release"] for event in history if event.kind == "released")
        assert releases == list(range(1, WORKERS * ROUNDS + 1))
        assert sum(event.kind == "alias_moved" for event in history) == WORKERS * ROUNDS
        assert registry.verify(deep=True) == []
        live = registry.aliases(draft.model)["production"]
        folder = refresh(registry, draft.model, "EmberEye")
        assert (folder / "production.pt").resolve() == (folder / f"v{live}" / "weights" / "EmberEye.pt").resolve()
        assert list((root / "blobs" / "staging").iterdir()) == []
