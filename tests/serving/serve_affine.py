"""Serves an affine model in a process of its own: `python -m tests.serving.serve_affine FOLDER`."""

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
    serve([affine_model(Path(sys.argv[1]))], port=0, max_queue=4, max_batch=1, on_ready=announce)
