import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.affine import POISON, GateEngine, echo_spec, gate_engine, wait_until
from wherry.core.errors import BadInputError, EngineError
from wherry.runtime.interface import Tensors
from wherry.serving.batcher import Batcher, BatchRecord
from wherry.serving.refusal import RefusedRequestError


class Counted:
    """A batcher over a gate, and what it says about itself."""

    def __init__(self, engine: GateEngine, *, max_rows: int = 4, max_queue: int = 64, merge: bool = True) -> None:
        self.engine = engine
        self.records: list[BatchRecord] = []
        self.drops: list[str] = []
        self.batcher = Batcher(
            engine,
            max_rows=max_rows,
            max_queue=max_queue,
            merge=merge,
            on_batch=self.records.append,
            on_drop=self.drops.append,
        )

    async def ask(self, value: float, rows: int = 1, timeout_s: float | None = None) -> Tensors:
        x = np.full((rows, 2), value, np.float32) + np.arange(rows, dtype=np.float32)[:, None] / 100
        answer = await self.batcher.run({"x": x}, rows, timeout_s)
        assert np.array_equal(answer["y"], x * 2)
        return answer

    async def hold(self) -> "asyncio.Task[Tensors]":
        """Occupy the engine, which is shut."""
        first = asyncio.create_task(self.ask(1.0))
        await asyncio.to_thread(self.engine.entered.wait, 10)
        return first


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    made = Counted(gate_engine(tmp_path))
    yield made
    finish(made)


def finish(made: Counted) -> None:
    made.engine.open.set()
    made.batcher.retire()
    assert made.batcher.join(10)
    assert made.engine.closed


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 6), st.sampled_from([None, 3]))
def test_everybody_gets_their_own_rows(tmp_path: Path, sizes: list[int], max_rows: int, fixed: int | None) -> None:
    made = Counted(gate_engine(tmp_path, batch=fixed), max_rows=max_rows)
    made.engine.open.set()

    async def crowd() -> None:
        # `ask` compares each answer with its own numbers.
        await asyncio.gather(*(made.ask(float(index), rows) for index, rows in enumerate(sizes)))

    asyncio.run(crowd())
    finish(made)
    assert sum(record.rows for record in made.records) == sum(sizes)
    assert sum(len(record.waits_ns) for record in made.records) == len(sizes)
    assert all(rows <= (fixed or max_rows) for rows in made.engine.rows)
    assert not made.drops


def test_what_waits_becomes_one_batch(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        waiting = [asyncio.create_task(counted.ask(float(value))) for value in range(6)]
        await asyncio.sleep(0)
        assert counted.batcher.depth == 6
        counted.engine.open.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    assert counted.engine.rows == [1, 4, 2]


def test_a_lone_request_does_not_wait_for_company(counted: Counted) -> None:
    counted.engine.open.set()
    asyncio.run(counted.ask(5.0))
    assert counted.engine.rows == [1]


def test_order_is_kept_when_the_next_does_not_fit(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        waiting = [asyncio.create_task(counted.ask(float(rows), rows)) for rows in (3, 2, 1, 9)]
        await asyncio.sleep(0)
        counted.engine.open.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    assert counted.engine.rows == [1, 3, 3, 4, 4, 1]


def test_shapes_are_not_mixed(tmp_path: Path) -> None:
    main = tmp_path / "gate.bin"
    main.touch()
    made = Counted(GateEngine(main, echo_spec("float32", "batch", "length")))

    async def ask(length: int) -> None:
        x = np.full((1, length), length, np.float32)
        assert np.array_equal((await made.batcher.run({"x": x}, 1))["y"], x * 2)

    async def scene() -> None:
        first = await made.hold()
        waiting = [asyncio.create_task(ask(length)) for length in (3, 5, 3, 5, 3)]
        await asyncio.sleep(0)
        made.engine.open.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    finish(made)
    assert made.engine.rows == [1, 3, 2]


def test_models_without_a_batch_axis_run_one_by_one(tmp_path: Path) -> None:
    made = Counted(gate_engine(tmp_path), max_rows=1, merge=False)
    made.engine.open.set()

    async def scene() -> None:
        await asyncio.gather(made.ask(1.0, 3), made.ask(2.0, 3))

    asyncio.run(scene())
    finish(made)
    assert made.engine.rows == [3, 3]


def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    made = Counted(gate_engine(tmp_path), max_queue=2)

    async def scene() -> None:
        first = await made.hold()
        waiting = [asyncio.create_task(made.ask(float(value))) for value in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedRequestError, match="busy") as caught:
            await made.ask(9.0)
        assert caught.value.status == 503
        assert int(caught.value.headers["Retry-After"]) >= 1
        made.engine.open.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(scene())
    finish(made)
    assert made.drops == ["queue_full"]
    assert sum(made.engine.rows) == 3


def test_what_expires_is_answered_then_and_never_run(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        with pytest.raises(RefusedRequestError, match="timeout expired"):
            await counted.ask(2.0, timeout_s=0.02)
        assert counted.batcher.depth == 0
        counted.engine.open.set()
        await first

    asyncio.run(scene())
    assert counted.engine.rows == [1]
    assert counted.drops == ["expired"]


def test_what_expired_while_the_loop_was_busy_is_not_run_either(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        late = asyncio.create_task(counted.ask(2.0, timeout_s=0.01))
        await asyncio.sleep(0)
        # The loop cannot fire its timer now, so the batcher's thread has to notice.
        threadless = asyncio.get_running_loop().time() + 0.05
        while asyncio.get_running_loop().time() < threadless:
            pass
        counted.engine.open.set()
        wait_until(lambda: counted.drops == ["expired"])
        with pytest.raises(RefusedRequestError, match="timeout expired"):
            await late
        await first

    asyncio.run(scene())
    assert counted.engine.rows == [1]


def test_time_does_not_cut_off_what_runs(counted: Counted) -> None:
    async def scene() -> None:
        running = asyncio.create_task(counted.ask(1.0, timeout_s=0.02))
        await asyncio.to_thread(counted.engine.entered.wait, 10)
        await asyncio.sleep(0.05)
        counted.engine.open.set()
        await running

    asyncio.run(scene())
    assert not counted.drops


def test_what_is_given_up_while_it_waits_is_never_run(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        given_up = asyncio.create_task(counted.ask(2.0))
        kept = asyncio.create_task(counted.ask(3.0))
        await asyncio.sleep(0)
        given_up.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await given_up
        counted.engine.open.set()
        await asyncio.gather(first, kept)

    asyncio.run(scene())
    assert counted.engine.rows == [1, 1]
    assert counted.drops == ["cancelled"]


def test_giving_up_what_runs_harms_nobody(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        counted.engine.open.set()
        await counted.ask(2.0)

    asyncio.run(scene())
    assert counted.engine.rows == [1, 1]
    assert not counted.drops


def test_one_callers_numbers_do_not_fail_the_others(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        good = [asyncio.create_task(counted.ask(float(value))) for value in (1, 2)]
        bad = asyncio.create_task(counted.ask(POISON))
        await asyncio.sleep(0)
        counted.engine.open.set()
        await asyncio.gather(first, *good)
        with pytest.raises(EngineError, match="poison"):
            await bad
        await counted.ask(7.0)

    asyncio.run(scene())


class ForgetfulEngine(GateEngine):
    """Breaks its promise in a way that the engine interface does not narrow."""

    def _infer(self, inputs: Tensors) -> Tensors:
        return super()._infer(inputs) if inputs["x"].any() else None  # not tensors at all


def test_an_error_that_no_engine_should_raise_is_narrowed(tmp_path: Path) -> None:
    main = tmp_path / "gate.bin"
    main.touch()
    made = Counted(ForgetfulEngine(main, echo_spec("float32")))
    made.engine.open.set()

    async def scene() -> None:
        with pytest.raises(EngineError, match="gate failed"):
            await made.batcher.run({"x": np.zeros((1, 2), np.float32)}, 1)
        with pytest.raises(BadInputError):
            await made.batcher.run({"x": np.zeros((1, 2))}, 1)  # float64
        await made.ask(1.0)

    asyncio.run(scene())
    finish(made)


def test_a_retired_batcher_finishes_and_takes_no_more(counted: Counted) -> None:
    async def scene() -> None:
        first = await counted.hold()
        waiting = asyncio.create_task(counted.ask(2.0))
        await asyncio.sleep(0)
        counted.batcher.retire()
        assert not counted.batcher.join(0)
        with pytest.raises(RefusedRequestError, match="replaced"):
            await counted.ask(3.0)
        counted.engine.open.set()
        await asyncio.gather(first, waiting)

    asyncio.run(scene())
    assert counted.batcher.join(10)
    assert counted.engine.closed


def test_a_loop_that_is_gone_does_not_stop_the_thread(counted: Counted) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(counted.ask(1.0))
    loop.run_until_complete(asyncio.sleep(0))
    counted.engine.entered.wait(10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    counted.engine.open.set()
    asyncio.run(counted.ask(2.0))
