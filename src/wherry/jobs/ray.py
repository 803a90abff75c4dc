"""Runs jobs on a Ray cluster that the user named: the same child process with the same limits, on one of its machines.

Paths mean nothing on another machine, so what a job reads travels by content and digest, and what it writes comes back
the same way. A file that many jobs read crosses once. Nothing here starts a cluster, and a job never crosses as code:
it is the name of a function and a JSON document.
"""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from wherry.core import errors
from wherry.core.codec import from_json, to_builtins, to_json
from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, ChildError, StorageError, ToolchainMissingError, WherryError
from wherry.core.job import Luggage
from wherry.jobs.child import python_path, run_in_child
from wherry.jobs.parcel import Answer, Carried, Parcel, digest_of, files_of, folders_of, moved, unpack
from wherry.jobs.worker import Failure
from wherry.runtime.installed import installed_version

T = TypeVar("T")
ADDRESS = "RAY_ADDRESS"
_LOOK_EVERY_S = 0.2
_KNOCK_S = 10.0
_JOIN_S = 120.0  # a machine that starts its first worker imports Ray, which takes some seconds


class RayRunner:
    """Calls functions on a cluster; may be used from several threads."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._task = ray.remote(num_cpus=1, max_retries=0)(carry_out)
        self._sent: dict[str, Any] = {}
        self._sending = threading.Lock()

    @property
    def processors(self) -> int:
        """Return how many jobs the cluster runs at a time."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def __call__(
        self,
        function: str,
        spec: object,
        result: type[T],
        *,
        timeout_s: float,
        memory_bytes: int | None = None,
        on_log: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Do what `run_in_child` does, elsewhere; lines of the log come when the job has ended.

        The time counts from when the job starts, not from when it began to wait for a free processor.

        Raises:
            ChildError: the job crashed, hung or was stopped, or the machine that ran it is gone.
            WherryError: what the function raised.
        """
        luggage = _luggage(spec)
        files = files_of(luggage)
        carried = tuple(Carried(path=str(path), name=name, sha256=digest_of(path)) for path, name in files)
        names = folders_of(luggage)
        parcel = Parcel(
            function=function,
            spec=to_builtins(spec),
            timeout_s=timeout_s,
            memory_bytes=memory_bytes,
            files=carried,
            folders=names,
            out=tuple(names[path] for path in luggage.out),
        )
        contents = [self._content(Path(one.path), one.sha256) for one in carried]
        document, made = self._wait(self._task.remote(to_json(parcel), contents), function, stop)
        answer = from_json(document, Answer, what=f"The answer of {function}")
        for line in answer.log:
            if on_log is not None:
                on_log(line)
        if answer.failure is not None:
            raise _error(answer.failure)
        _bring_home(answer, made, {names[path]: Path(path) for path in luggage.out})
        return from_json(to_json(answer.result), result, what=f"The result of {function}")

    def _content(self, path: Path, sha256: str) -> Any:
        """Return a reference to a file's content, which crosses into the cluster once."""
        with self._sending:
            if sha256 not in self._sent:
                self._sent[sha256] = self._ray.put(path.read_bytes())
            return self._sent[sha256]

    def _wait(self, reference: Any, function: str, stop: threading.Event | None) -> tuple[bytes, list[bytes]]:
        try:
            while not self._ray.wait([reference], timeout=_LOOK_EVERY_S)[0]:
                if stop is not None and stop.is_set():
                    self._ray.cancel(reference, force=True)
                    msg = f"The job {function} was stopped."
                    raise ChildError(msg, next_step="Run the same command again; what was finished is kept.")
            document, made = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            kind, said = type(error).__name__, (str(error).strip().splitlines() or [""])[0][:300]
            msg = f"The cluster lost the job {function}: {kind}: {said}"
            raise ChildError(msg, next_step="Look at the cluster with `ray status`, then run it again.") from error
        return document, made


@contextmanager
def connected(address: str | None) -> Iterator[RayRunner]:
    """Join a running cluster and leave it at the end.

    Args:
        address: such as `10.0.0.5:6379`; None takes the environment variable RAY_ADDRESS.

    Raises:
        ToolchainMissingError: Ray is not installed, or a machine of the cluster has another wherry.
        BadInputError: no address is known, or nobody answers there.
    """
    address = address or os.environ.get(ADDRESS)
    if installed_version("ray") is None:
        msg = "Ray is not installed."
        raise ToolchainMissingError(msg, next_step="Run: pip install 'wherry[ray]'")
    if not address:
        msg = "No Ray cluster was named."
        raise BadInputError(msg, next_step="Start one with `ray start --head`, then give --ray-address HOST:6379.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    own = not ray.is_initialized()
    try:
        if own:
            _knock(address)
            settings = {"env_vars": {"PYTHONPATH": python_path()}}
            ray.init(address=address, log_to_driver=False, logging_level="error", runtime_env=settings)
    except (OSError, ValueError, RuntimeError) as error:
        said = str(error).strip().splitlines()[0][:200]
        msg = f"There is no Ray cluster at {address}: {said}"
        raise BadInputError(msg, next_step="Look with `ray status --address HOST:6379`.") from error
    try:
        _check_machines(ray)
        yield RayRunner(ray)
    finally:
        if own:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        with socket.create_connection((host, int(port)), timeout=_KNOCK_S):
            pass


def version_there() -> str | None:
    """Return the version of wherry on this machine of the cluster."""
    return installed_version("wherry")


def carry_out(parcel: bytes, contents: list[Any]) -> tuple[bytes, list[bytes]]:
    """Do a job on this machine of the cluster: unpack, run the child process, and pack what it made."""
    import ray

    asked = from_json(parcel, Parcel, what="The parcel")
    with tempfile.TemporaryDirectory(prefix="wherry-ray-") as name:
        root, log = Path(name), list[str]()
        try:
            unpack(zip(asked.files, ray.get(contents), strict=True), root)
            result = _run(asked, root, log)
        except WherryError as error:
            failure = Failure(error=type(error).__name__, message=error.message, next_step=error.next_step, known=True)
            return to_json(Answer(failure=failure, log=tuple(log))), []
        made = [(folder, path) for folder in asked.out for path in sorted((root / folder).rglob("*")) if path.is_file()]
        data = [path.read_bytes() for _, path in made]
        files = tuple(
            Carried(path=folder, name=path.relative_to(root / folder).as_posix(), sha256=sha256_hex(content))
            for (folder, path), content in zip(made, data, strict=True)
        )
    return to_json(Answer(result=result, log=tuple(log), files=files)), data


def _run(asked: Parcel, root: Path, log: list[str]) -> Any:
    places = {file.path: str(root / file.name) for file in asked.files}
    for path, name in asked.folders.items():
        (root / name).mkdir(exist_ok=True)
        places[path] = str(root / name)
    answer: Any = Any  # the caller knows the type and reads it again
    return run_in_child(
        asked.function,
        moved(asked.spec, places),
        answer,
        timeout_s=asked.timeout_s,
        memory_bytes=asked.memory_bytes,
        on_log=log.append,
    )


def _luggage(spec: object) -> Luggage:
    describe = getattr(spec, "luggage", None)
    found = describe() if describe is not None else None
    return found if isinstance(found, Luggage) else Luggage()


def _error(failure: Failure) -> WherryError:
    kind = getattr(errors, failure.error, None)
    known = kind if isinstance(kind, type) and issubclass(kind, WherryError) else ChildError
    return known(failure.message, next_step=failure.next_step)


def _bring_home(answer: Answer, contents: list[bytes], folders: dict[str, Path]) -> None:
    for file, content in zip(answer.files, contents, strict=True):
        if file.path not in folders:
            msg = f"The job wrote into {file.path!r}, which was not asked for."
            raise StorageError(msg)
        unpack([(file, content)], folders[file.path])


def _check_machines(ray: Any) -> None:
    """Refuse a cluster in which a machine has no wherry, or another one."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = installed_version("wherry")
    ask = ray.remote(num_cpus=0, max_retries=0)(version_there)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    asked = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node
        for node in nodes
    }
    for reference, node in asked.items():
        found = None
        with suppress(ray.exceptions.RayError):
            found = ray.get(reference, timeout=_JOIN_S)
        if found != here:
            msg = f"The machine {node['NodeManagerAddress']} of the cluster has wherry {found}, and here it is {here}."
            raise ToolchainMissingError(msg, next_step=f"Install wherry {here} on every machine of the cluster.")
