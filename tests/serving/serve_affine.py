"""Serves an affine model in a process of its own: `python -m tests.serving.serve_affine FOLDER SECONDS [PORT]`."""

import sys
from pathlib import Path

from tests.serving.affine import affine_model, register
from wherry.serving.server import serve


def announce(url: str) -> None:
    """Tell the test where the server is."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    register()
    folder, seconds, port = Path(sys.argv[1]), float(sys.argv[2]), int((*sys.argv, "0")[3])
    model = affine_model(folder, seconds=seconds)
    serve([model], port=port, max_queue=4, max_batch=1, on_ready=announce)
