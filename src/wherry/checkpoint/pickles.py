"""Reads pickle streams without running them: an abstract machine that knows only what tensors are made of.

Every opcode is followed on a model of the stack and the memo, so that what a call calls is known and not guessed. An
opcode outside the table, a name outside the allow-list or an argument that does not fit ends in a finding. Nothing is
imported, nothing is called. The table is the opcode set of torch's own `weights_only` reader plus the literal opcodes
of protocol 4.
"""

import io
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry.checkpoint import allowed
from wherry.checkpoint.findings import MAX_FINDINGS, Finding, UncleanError, damaged, forbidden
from wherry.checkpoint.values import Global, Instance, Mark, Opaque, Storage, call, is_key, storage_of

MAX_OPCODES = 20_000_000


@dataclass(slots=True, kw_only=True)
class Stream:
    """One stream that was followed to its STOP."""

    value: Any
    """Model of the object: literals, lists, dicts, and the types of `values`."""
    end: int
    """Offset just behind the STOP."""
    storages: dict[str, Storage]
    findings: list[Finding] = field(default_factory=list)


def read_stream(data: bytes, *, where: str, start: int = 0, into: list[Finding] | None = None) -> Stream:
    """Follow the stream that begins at `start`.

    Args:
        data: bytes that hold the whole stream.
        where: name of the part, for findings.
        start: offset of the first opcode.
        into: list that receives the findings; those made before an error are in it too.

    Raises:
        UncleanError: the stream does not parse, or holds an opcode that no tensor needs.
    """
    machine = Machine(where, into if into is not None else [])
    end = machine.follow(_opcodes(data, start, where))
    return Stream(value=machine.pop(), end=end, storages=machine.storages, findings=machine.findings)


def _opcodes(data: bytes, start: int, where: str) -> Iterable[tuple[str, Any, int]]:
    source = io.BytesIO(data)
    source.seek(start)
    try:
        for opcode, argument, position in pickletools.genops(source):
            yield opcode.name, argument, position if position is not None else start
    except (ValueError, UnicodeError, OverflowError, MemoryError) as error:
        msg = f"The pickle stream ends or breaks before its STOP ({str(error)[:120]})."
        raise damaged(msg, where=where) from error


class Machine:
    """The abstract machine; one per stream."""

    def __init__(self, where: str, findings: list[Finding]) -> None:
        """Start with an empty stack and memo."""
        self.where = where
        self.findings = findings
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._frame_end: int | None = None
        self._count = 0
        self._steps = self._table()

    def follow(self, opcodes: Iterable[tuple[str, Any, int]]) -> int:
        """Follow the opcodes to STOP and return the offset behind it."""
        for name, argument, position in opcodes:
            self._count += 1
            if self._count > MAX_OPCODES:
                raise forbidden("The pickle stream is longer than any list of tensors.", where=self.where)
            self._check_frame(name, argument, position)
            if name == "STOP":
                return position + 1
            self._step(name, argument)
        raise damaged("The pickle stream has no STOP.", where=self.where)

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self._stack:
            raise damaged("The pickle stream takes from an empty stack.", where=self.where)
        value = self._stack.pop()
        if isinstance(value, Mark):
            raise damaged("The pickle stream takes a mark for a value.", where=self.where)
        return value

    def _table(self) -> dict[str, Callable[[Any], None]]:
        return {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "TUPLE": lambda _: self._stack.append(tuple(self._pop_mark())),
            "TUPLE1": lambda _: self._tuple(1),
            "TUPLE2": lambda _: self._tuple(2),
            "TUPLE3": lambda _: self._tuple(3),
            "GLOBAL": self._name,
            "STACK_GLOBAL": lambda _: self._stack_global(),
            "REDUCE": lambda _: self._call(),
            "NEWOBJ": lambda _: self._call(),
            "BUILD": lambda _: self._build(),
            "BINPERSID": lambda _: self._persistent(),
            "APPEND": lambda _: self._append([self.pop()]),
            "APPENDS": lambda _: self._append(self._pop_mark()),
            "SETITEM": lambda _: self._set_items([self.pop(), self.pop()][::-1]),
            "SETITEMS": lambda _: self._set_items(self._pop_mark()),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "BINGET": self._get,
            "LONG_BINGET": self._get,
        }

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        else:
            step = self._steps.get(name)
            if step is None:
                msg = f"The pickle stream uses {name}, which no tensor needs."
                raise forbidden(msg, where=self.where)
            try:
                step(argument)
            except UncleanError as error:
                found = error.finding
                raise UncleanError(found.kind, found.what, where=self.where) from error

    def _check_frame(self, name: str, argument: Any, position: int) -> None:
        if self._frame_end is not None and position >= self._frame_end:
            if position > self._frame_end:
                raise forbidden("An opcode of the pickle stream crosses the end of its frame.", where=self.where)
            self._frame_end = None
        if name == "FRAME":
            if self._frame_end is not None:
                raise forbidden("The pickle stream has a frame inside a frame.", where=self.where)
            self._frame_end = position + 9 + int(argument)

    def _report(self, what: str) -> None:
        finding = Finding(kind="forbidden", where=self.where, what=what)
        if finding not in self.findings and len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)

    def _top(self) -> Any:
        if not self._stack:
            raise damaged("The pickle stream looks at an empty stack.")
        if isinstance(self._stack[-1], Mark):
            raise damaged("The pickle stream takes a mark for a value.")
        return self._stack[-1]

    def _pop_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[index], Mark):
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise damaged("The pickle stream closes a mark that it did not set.")

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size or any(isinstance(item, Mark) for item in self._stack[-size:]):
            raise damaged("The pickle stream makes a tuple of too few things.")
        self._stack[-size:] = [tuple(self._stack[-size:])]

    def _name(self, text: str) -> None:
        if allowed.is_allowed(text):
            self._stack.append(Global(text))
            return
        module, _, name = text.partition(" ")
        self._report(f"It names {module[:80]}.{name[:80]}, which is not on the list of what tensors need.")
        self._stack.append(Opaque())

    def _stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)) or " " in name + module:
            raise forbidden("STACK_GLOBAL takes its name from something that is not a literal text.")
        self._name(f"{module} {name}")

    def _call(self) -> None:
        arguments, callee = self.pop(), self.pop()
        if isinstance(callee, Opaque):
            self._stack.append(callee)
            return
        if not isinstance(callee, Global) or callee.name not in allowed.CALLABLES:
            raise forbidden("The pickle stream calls something that is not on the list of what tensors need.")
        if not isinstance(arguments, tuple):
            raise damaged("The pickle stream calls with arguments that are not a tuple.")
        self._stack.append(call(callee.name, arguments))

    def _build(self) -> None:
        state, target = self.pop(), self._top()
        if isinstance(target, Opaque):
            return
        fits = isinstance(target, Instance) and isinstance(state, dict) and set(state) <= {"_metadata"}
        if not fits:
            raise forbidden("The pickle stream sets the state of an object other than a list of tensors.")

    def _persistent(self) -> None:
        found = storage_of(self.pop())
        known = self.storages.setdefault(found.key, found)
        if known.size != found.size:
            msg = f"Storage {found.key!r} is named with two different sizes."
            raise damaged(msg)
        self._stack.append(found)

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Opaque):
            return
        if not isinstance(target, list):
            raise forbidden("The pickle stream appends to something that is not a list.")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Opaque):
            return
        table = target.items if isinstance(target, Instance) else target
        if not isinstance(table, dict):
            raise forbidden("The pickle stream sets items of something that is not a dict.")
        if len(items) % 2:
            raise damaged("The pickle stream sets an odd number of keys and values.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, Opaque):
                continue
            if not is_key(key):
                raise forbidden("The pickle stream uses something else than a plain value as a key.")
            table[key] = value

    def _put(self, index: int) -> None:
        if index > self._count:
            raise forbidden("The pickle stream reserves memo places that it does not use.")
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise damaged("The pickle stream reads a memo place that it did not write.")
        self._stack.append(self._memo[index])


_LITERALS = frozenset(
    {
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
    }
)

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": Mark,
}
