"""Writes protocol buffers and FlatBuffers by hand, byte by byte, for the formats that are made of them."""

import struct
from collections.abc import Mapping


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def onnx_node(operator: str, domain: str = "", attribute: bytes = b"") -> bytes:
    return field(4, operator) + field(7, domain) + (field(5, attribute) if attribute else b"")


def onnx_tensor(location: str) -> bytes:
    return field(14, 1) + field(13, field(1, "location") + field(2, location)) + field(13, field(1, "offset"))


def onnx(*nodes: bytes, tensors: tuple[bytes, ...] = (), more: bytes = b"") -> bytes:
    graph = b"".join(field(1, node) for node in nodes) + field(2, "g") + b"".join(field(5, one) for one in tensors)
    return field(1, 8) + field(2, "maker") + field(7, graph + more) + field(8, field(2, 17))


def graph_def(*operators: str) -> bytes:
    return b"".join(field(1, field(1, f"n{index}") + field(2, name)) for index, name in enumerate(operators))


def saved_model(*operators: str, library: tuple[str, ...] = ()) -> bytes:
    nodes = b"".join(field(3, field(1, "n") + field(2, name)) for name in library)
    functions = field(2, field(1, field(1, b"") + nodes)) if library else b""
    return field(1, 1) + field(2, field(2, graph_def(*operators) + functions))


def coreml(number: int, content: bytes) -> bytes:
    return field(1, 8) + field(2, field(1, b"")) + field(number, content)


def flat(table: Mapping[int, object], identity: bytes) -> bytes:
    """Return a FlatBuffer: a table maps field to bytes, text, table or list of tables."""
    out = bytearray(4) + identity

    def put(fields: Mapping[int, object]) -> int:
        count = max(fields, default=-1) + 1
        listed = len(out)
        out.extend(struct.pack("<HH", 4 + 2 * count, 4) + bytes(2 * count))
        start = len(out)
        out.extend(struct.pack("<i", start - listed))
        waiting = []
        for number, value in fields.items():
            struct.pack_into("<H", out, listed + 4 + 2 * number, len(out) - start)
            if not isinstance(value, bytes):
                waiting.append((len(out), value))
            out.extend(value if isinstance(value, bytes) else bytes(4))
        for place, value in waiting:
            struct.pack_into("<I", out, place, lay(value) - place)
        return start

    def lay(value: object) -> int:
        if isinstance(value, Mapping):
            return put(value)
        start = len(out)
        if isinstance(value, str):
            out.extend(struct.pack("<I", len(value)) + value.encode() + b"\0")
            return start
        items = list(value) if isinstance(value, list) else []
        out.extend(struct.pack("<I", len(items)) + bytes(4 * len(items)))
        for index, item in enumerate(items):
            place = start + 4 + 4 * index
            struct.pack_into("<I", out, place, put(item) - place)
        return start

    struct.pack_into("<I", out, 0, put(table))
    return bytes(out)


def tflite(*custom: str) -> bytes:
    codes = [{0: b"\x20", 1: name, 3: struct.pack("<i", 32)} for name in custom] or [{0: b"\x03"}]
    return flat({0: struct.pack("<I", 3), 1: codes, 2: [{4: "g"}], 4: [{}]}, b"TFL3")


def executorch(*operators: str) -> bytes:
    plan = {0: "forward", 6: [{0: name, 1: "out"} for name in operators], 7: [{0: "XnnpackBackend"}]}
    return flat({0: struct.pack("<I", 0), 1: [plan]}, b"ET12")
