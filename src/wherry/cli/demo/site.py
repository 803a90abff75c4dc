"""A site's application, as a customer would write it: it serves the installed model to its own cameras.

It reads the product-named configuration, turns the class names into the digits it knows, and answers over HTTP. A
model whose class names are not digits makes it stop at the start: the numbers of such a model are right, and it is
still the wrong model for this site. Only a health check can find that out.

    python -m wherry.cli.demo.site run|restart|healthy --root ROOT --product NAME --port PORT
"""

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

_START_S = 60.0
_STOP_S = 15.0
_POLL_S = 0.05


def run(root: Path, product: str, port: int) -> int:
    """Serve the live release until SIGTERM."""
    from wherry.cli.serve import from_device
    from wherry.serving.server import serve

    config = json.loads((root / "models" / f"{product}_config.json").read_bytes())
    digits = [int(name) for name in config["class_names"]]
    sys.stdout.write(f"this site knows the digits {digits}\n")
    sys.stdout.flush()
    serve([from_device(root)], host="127.0.0.1", port=port)
    return 0


def restart(root: Path, product: str, port: int) -> int:
    """Stop the running application, start it beside this process, and wait until it answers or has ended."""
    stop(root)
    log = root.parent / "site.log"
    words = [sys.executable, "-m", "wherry.cli.demo.site", "run"]
    words += ["--root", str(root), "--product", product, "--port", str(port)]
    with log.open("ab") as out:
        child = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    _pid_file(root).write_text(str(child.pid))
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None and healthy(root, product, port) != 0:
        time.sleep(_POLL_S)
    return 0


def stop(root: Path) -> None:
    """End the application that `restart` started, and wait until it has ended."""
    import psutil

    try:
        process = psutil.Process(int(_pid_file(root).read_text()))
    except (OSError, ValueError, psutil.NoSuchProcess):
        return
    _pid_file(root).unlink(missing_ok=True)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        deadline = time.monotonic() + _STOP_S
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(_POLL_S)


def healthy(root: Path, product: str, port: int) -> int:
    """Return 0 when the application answers and serves the version that the configuration names."""
    config = json.loads((root / "models" / f"{product}_config.json").read_bytes())
    try:
        ready, _ = _get(port, "/v2/health/ready")
        known, body = _get(port, f"/v2/models/{product}")
        served = json.loads(body).get("versions", [])
    except (OSError, http.client.HTTPException, ValueError):
        sys.stdout.write("the site's application does not answer\n")
        return 1
    if (ready, known) == (200, 200) and str(config["version"]) in served:
        return 0
    sys.stdout.write(f"the site's application serves {served or 'nothing'} and not {config['version']}\n")
    return 1


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _pid_file(root: Path) -> Path:
    return root.parent / "site.pid"


def main() -> int:
    """Run one of the verbs."""
    parser = argparse.ArgumentParser(description="The demo site's application.")
    parser.add_argument("verb", choices=("run", "restart", "healthy"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--product", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    verb = {"run": run, "restart": restart, "healthy": healthy}[given.verb]
    return verb(given.root, given.product, given.port)


if __name__ == "__main__":
    sys.exit(main())
