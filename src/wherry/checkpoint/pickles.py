"""Reads pickle streams without running them: an abstract machine that knows only what tensors and modules are made of.

Every opcode is followed on a model of the stack and the memo, so that what a call calls is known and not guessed. An
opcode outside the table, a name outside the allow-lists or an argument that does not fit ends in a finding. Nothing is
imported, nothing is called. The table is the opcode set of torch's own `weights_only` reader plus the literal opcodes
of protocols 4 and 5. What plain tensors do not need is noted on the way: it is refused in the tier `tensors`, and makes
the stream one that needs the tier `modules` otherwise.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from wherry.checkpoint import allowed, allowed_modules, objects
from wherry.checkpoint.findings import MAX_FINDINGS, Finding, Tier, UncleanError, damaged, forbidden
from wherry.checkpoint.opcodes import Source, opcodes
from wherry.checkpoint.parts import Part
from wherry.checkpoint.stack import CONSTANTS, FURTHER, LITERALS, Stack
from wherry.checkpoint.values import (
    Global,
    Instance,
    Opaque,
    Storage,
    call,
    class_of,
    elements,
    is_key,
    pairs,
    storage_of,
)

MAX_OPCODES = 5_000_000
_MAX_NESTED = 3
_WRAPPER = "joblib.numpy_pickle NumpyArrayWrapper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a program that reads a stream does beyond unpickling."""

    joblib: bool = False
    """Whether arrays may lie between the opcodes, as joblib writes them."""
    nested: int = 0
    """In how many streams this one lies, as joblib writes arrays of objects."""
    script: bool = False
    """Whether it is TorchScript's own reader, which has no Python and makes classes of the program in the file."""


PLAIN = Reading()


@dataclass(slots=True, kw_only=True)
class Stream:
    """One stream that was followed to its STOP."""

    value: Any
    """Model of the object: literals, lists, dicts, and the types of `values` and `objects`."""
    end: int
    """Offset just behind the STOP."""
    storages: dict[str, Storage]
    needs: Tier
    names: set[str] = field(default_factory=set)
    """`module name` of what only the longer list has."""


def read_stream(part: Part, *, where: str, start: int = 0, into: list[Finding], reading: Reading = PLAIN) -> Stream:
    """Follow the stream that begins at `start`.

    Args:
        part: the file; it says which tier is allowed.
        where: name of the stream, for findings.
        start: offset of the first opcode.
        into: list that receives the findings; those made before an error are in it too.
        reading: what the program that reads the stream does beyond unpickling.

    Raises:
        UncleanError: the stream does not parse, or holds an opcode that nothing on the lists needs.
    """
    machine = Machine(part, where, into, start=start, reading=reading)
    try:
        end = machine.follow()
        value = machine.pop()
        machine.finish()
    finally:
        machine.settle(part.allow)
    return Stream(
        value=value,
        end=end,
        storages=machine.storages,
        needs="modules" if machine.beyond else "tensors",
        names=machine.names,
    )


_NEVER_CALLED = allowed.SCHEMES.union(allowed.STORAGES, allowed.DTYPE_GLOBALS)


class Machine(Stack):
    """The abstract machine; one per stream."""

    def __init__(
        self, part: Part, where: str, findings: list[Finding], *, start: int = 0, reading: Reading = PLAIN
    ) -> None:
        """Start with an empty stack and memo."""
        super().__init__(where)
        self.findings = findings
        self.storages: dict[str, Storage] = {}
        self.beyond: list[Finding] = []
        self.names: set[str] = set()
        self._part = part
        self._source = Source(part.file, part.size, start)
        self._reading = reading
        self._made: list[objects.Object] = []
        self._frame_end: int | None = None
        self._steps = self._table()

    def follow(self) -> int:
        """Follow the opcodes to STOP and return the offset behind it."""
        for name, argument, position in opcodes(self._source, self.where):
            self._count += 1
            if self._count > MAX_OPCODES:
                raise forbidden(
                    "The pickle stream is longer than any list of tensors.", where=self.where, code="pickle-limit"
                )
            if name == "FRAME" or self._frame_end is not None:
                self._check_frame(name, argument, position)
            if name in LITERALS:
                self._stack.append(argument)
            elif name == "STOP":
                return position + 1
            else:
                self._step(name, argument)
        raise damaged("The pickle stream has no STOP.", where=self.where, code="pickle-broken")

    def finish(self) -> None:
        """Look again at every object that was made, now that nothing can be added any more."""
        for made in self._made:
            try:
                made.check()
            except UncleanError as error:
                raise self._placed(error) from error

    def settle(self, allow: Tier) -> None:
        """Turn what plain tensors do not need into findings, if nothing else is allowed."""
        if allow == "tensors":
            self.findings.extend(self.beyond[: max(0, MAX_FINDINGS - len(self.findings))])

    def _table(self) -> dict[str, Callable[[Any], None]]:
        return {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "TUPLE": lambda _: self._stack.append(tuple(self._pop_mark())),
            "TUPLE1": lambda _: self._tuple(1),
            "TUPLE2": lambda _: self._tuple(2),
            "TUPLE3": lambda _: self._tuple(3),
            "GLOBAL": self._global,
            "STACK_GLOBAL": lambda _: self._stack_global(),
            "REDUCE": lambda _: self._call(),
            "NEWOBJ": lambda _: self._call(new=True),
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
            "ADDITEMS": lambda _: self._add_items(self._pop_mark()),
            "FROZENSET": lambda _: self._frozen(self._pop_mark()),
            "BYTEARRAY8": self._long,
            "BINBYTES8": self._long,
            "BINUNICODE8": self._long,
            "LONG4": self._long,
        }

    def _step(self, name: str, argument: Any) -> None:
        constant = CONSTANTS.get(name)
        if constant is not None:
            self._stack.append(constant())
            return
        step = self._steps.get(name)
        if step is None:
            msg = f"The pickle stream uses {name}, which no tensor needs."
            raise forbidden(msg, where=self.where, code="pickle-opcode")
        if name in FURTHER:
            self._beyond(f"The pickle stream uses {name}, which no tensor needs.", "pickle-opcode")
        try:
            step(argument)
        except UncleanError as error:
            raise self._placed(error) from error

    def _placed(self, error: UncleanError) -> UncleanError:
        found = error.finding
        return UncleanError(found.kind, found.what, where=self.where, code=found.code)

    def _check_frame(self, name: str, argument: Any, position: int) -> None:
        if self._frame_end is not None and position >= self._frame_end:
            if position > self._frame_end:
                raise forbidden(
                    "An opcode of the pickle stream crosses the end of its frame.",
                    where=self.where,
                    code="pickle-frame",
                )
            self._frame_end = None
        if name == "FRAME":
            if self._frame_end is not None:
                raise forbidden("The pickle stream has a frame inside a frame.", where=self.where, code="pickle-frame")
            self._frame_end = position + 9 + int(argument)

    def _report(self, what: str) -> None:
        finding = Finding(kind="forbidden", where=self.where, what=what, code="pickle-name")
        if finding not in self.findings and len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)

    def _beyond(self, what: str, code: str) -> None:
        finding = Finding(kind="forbidden", where=self.where, what=what, code=code)
        if len(self.beyond) < MAX_FINDINGS and finding not in self.beyond:
            self.beyond.append(finding)

    def _global(self, argument: tuple[str, str]) -> None:
        module, name = argument
        text = f"{module} {name}"
        if " " in module or " " in name:
            self._refuse_name(module, name)
        elif allowed.is_allowed(text) or (self._reading.script and objects.is_script(text)):
            self._stack.append(Global(text))
        elif text in self.names or objects.is_known(text):
            self.names.add(text)
            self._beyond(f"It names {module}.{name}, which is not on the list of what tensors need.", "pickle-name")
            self._stack.append(Global(text))
        else:
            self._refuse_name(module, name)

    def _refuse_name(self, module: str, name: str) -> None:
        what = "tensors" if self._part.allow == "tensors" else "tensors and modules"
        self._report(f"It names {module[:80]}.{name[:80]}, which is not on the list of what {what} need.")
        self._stack.append(Opaque())

    def _stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)) or " " in name + module:
            raise forbidden(
                "STACK_GLOBAL takes its name from something that is not a literal text.", code="pickle-opcode"
            )
        self._global((module, name))

    def _call(self, *, new: bool = False) -> None:
        arguments, callee = self.pop(), self.pop()
        if isinstance(callee, Opaque):
            self._stack.append(callee)
            return
        if not isinstance(callee, Global) or callee.name in _NEVER_CALLED:
            raise forbidden(
                "The pickle stream calls something that is not on the list of what tensors need.", code="pickle-call"
            )
        if not isinstance(arguments, tuple):
            raise damaged("The pickle stream calls with arguments that are not a tuple.", code="pickle-broken")
        if any(isinstance(argument, Opaque) for argument in arguments):
            self._stack.append(Opaque())
            return
        self._stack.append(self._result(callee.name, arguments, new=new))

    def _result(self, name: str, arguments: tuple[Any, ...], *, new: bool) -> Any:
        if name in allowed.CALLABLES:
            return self._result_of_tensors(name, arguments)
        if self._reading.script and objects.is_script(name):
            return objects.Object(name, native=True)
        made = objects.make(name, arguments) if new else objects.invoke(name, arguments)
        if isinstance(made, objects.Object):
            self._made.append(made)
        return made

    def _result_of_tensors(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "collections OrderedDict" and len(arguments) == 1 and isinstance(arguments[0], list):
            self._beyond("An OrderedDict is made from a list of pairs.", "pickle-arguments")
            return Instance(pairs(arguments[0]))
        return call(name, arguments)

    def _build(self) -> None:
        state, target = self.pop(), self._top()
        if isinstance(target, Opaque):
            return
        if isinstance(target, objects.Object | objects.Array | objects.Dtype | objects.Partial):
            if isinstance(target, objects.Object) and target.name == _WRAPPER:
                self._read_array(state)
            else:
                target.build(state)
            return
        if not isinstance(target, Instance) or not isinstance(state, dict):
            raise forbidden(
                "The pickle stream sets the state of an object other than a list of tensors.", code="pickle-state"
            )
        if not set(state) <= {"_metadata"}:
            objects.check_attributes(state)
            self._beyond("It sets the attributes of a list of tensors.", "pickle-state")

    def _read_array(self, state: Any) -> None:
        """Pass over the elements that joblib writes behind the description of an array, or follow them if objects.

        Before the elements stand the length of a gap and the gap (joblib 1.2 and later). That length is no opcode, so
        that a reader that knows nothing of joblib ends there and cannot take the elements for a stream.
        """
        dtype = state.get("dtype") if isinstance(state, dict) else None
        shape = state.get("shape") if isinstance(state, dict) else None
        kind = state.get("subclass") if isinstance(state, dict) else None
        if not self._reading.joblib or not isinstance(dtype, objects.Dtype) or not isinstance(shape, tuple):
            raise forbidden("It describes an array of joblib where joblib writes none.", code="pickle-joblib")
        if not isinstance(kind, Global) or kind.name not in ("numpy ndarray", "numpy memmap"):
            raise forbidden("An array of joblib is of an unknown class.", code="pickle-joblib")
        self._frame_end = None
        self._stack[-1] = objects.Array()
        if dtype.objects:
            self._follow_nested()
            return
        if state.get("numpy_array_alignment_bytes") != 16:
            raise forbidden("An array is stored as joblib before 1.2 did.", code="pickle-joblib")
        self._skip_elements(elements(shape) * dtype.size)

    def _skip_elements(self, length: int) -> None:
        try:
            gap = self._source.byte()
            if gap > 16:
                raise forbidden("An array of joblib does not begin with its gap.", code="pickle-joblib")
            self._source.skip(gap + length)
        except EOFError as error:
            raise damaged("It ends in the middle of an array: the file is truncated.", code="truncated") from error

    def _follow_nested(self) -> None:
        """Follow an array of objects, which is a stream of its own for joblib, and the next opcodes for all others."""
        if self._reading.nested >= _MAX_NESTED:
            raise forbidden("Arrays of objects lie inside each other.", code="pickle-limit")
        start = self._source.position
        deeper = replace(self._reading, nested=self._reading.nested + 1)
        inner = read_stream(self._part, where=self.where, start=start, into=self.findings, reading=deeper)
        self.names |= inner.names
        self._check_plain_reading(start)
        self._source.skip(inner.end - start)

    def _check_plain_reading(self, start: int) -> None:
        """Look for names that only a reader sees who keeps stack and memo; where it would break off does not matter."""
        found: list[Finding] = []
        plain = Machine(self._part, self.where, found, start=start)
        plain._stack, plain._memo = list(self._stack), dict(self._memo)
        with suppress(UncleanError):
            plain.follow()
        self.findings.extend(finding for finding in found if finding.code == "pickle-name")

    def _persistent(self) -> None:
        identity = self.pop()
        kind = class_of(identity)
        if kind is not None:
            self._stack.append(kind)
            return
        found = storage_of(identity)
        known = self.storages.setdefault(found.key, found)
        if known.size != found.size:
            msg = f"Storage {found.key!r} is named with two different sizes."
            raise damaged(msg)
        self._stack.append(found)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Opaque):
            return
        table = self._items_of(target)
        if not isinstance(table, dict):
            raise forbidden("The pickle stream sets items of something that is not a dict.", code="pickle-state")
        if len(items) % 2:
            raise damaged("The pickle stream sets an odd number of keys and values.", code="pickle-broken")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, Opaque):
                continue
            if isinstance(key, Global | objects.Value | frozenset):
                self._beyond("The pickle stream uses something else than a plain value as a key.", "pickle-state")
                continue
            if not is_key(key):
                raise forbidden(
                    "The pickle stream uses something else than a plain value as a key.", code="pickle-state"
                )
            table[key] = value

    def _items_of(self, target: object) -> object:
        if isinstance(target, objects.Object):
            return target.items if target.name in allowed_modules.MAPPINGS else None
        return target.items if isinstance(target, Instance) else target

    def _long(self, value: Any) -> None:
        self._stack.append(value)
