"""Writes pickle streams and checkpoint archives by hand, byte by byte: the tests never pickle anything."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping

STOP = b"."
MARK = b"("
REDUCE = b"R"
EMPTY_TUPLE = b")"
EMPTY_DICT = b"}"
TUPLE = b"t"
TUPLE1 = b"\x85"
SETITEM = b"s"
BUILD = b"b"
NONE = b"N"
FALSE = b"\x89"
ORDERED = b"ccollections\nOrderedDict\n)R"
MAGIC = 0x1950A86A20F9469CFC6C


def proto(number: int = 2) -> bytes:
    return b"\x80" + bytes([number])


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short_text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if 0 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def tuple_of(*parts: bytes) -> bytes:
    return MARK + b"".join(parts) + TUPLE


def storage(key: str = "0", elements: int = 4, kind: str = "FloatStorage", tail: bytes = b"") -> bytes:
    return tuple_of(text("storage"), name("torch", kind), text(key), text("cpu"), number(elements), tail) + b"Q"


def tensor(
    key: str = "0",
    shape: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    elements: int = 4,
    offset: int = 0,
    tail: bytes = b"",
) -> bytes:
    sizes = tuple_of(*(number(axis) for axis in shape))
    steps = tuple_of(*(number(axis) for axis in stride))
    arguments = tuple_of(storage(key, elements, tail=tail), number(offset), sizes, steps, FALSE, ORDERED)
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + REDUCE


def state_dict(*values: bytes) -> bytes:
    items = b"".join(text(f"w{index}") + value for index, value in enumerate(values))
    return proto() + ORDERED + MARK + items + b"u" + STOP


def archive(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for member, data in members.items():
            file.writestr(zipfile.ZipInfo(member), data, compress_type=method)
    return buffer.getvalue()


def torch_zip(
    pickled: bytes, storages: Mapping[str, bytes] | None = None, extra: Mapping[str, bytes] | None = None
) -> bytes:
    data = {"0": bytes(16)} if storages is None else storages
    members = {"m/data.pkl": pickled, "m/version": b"3\n", "m/byteorder": b"little"}
    members |= {f"m/data/{key}": raw for key, raw in data.items()}
    return archive(members | dict(extra or {}))


def legacy(pickled: bytes, keys: tuple[str, ...] = ("0",), raw: bytes | None = None) -> bytes:
    head = proto() + number(MAGIC) + STOP + proto() + b"M" + struct.pack("<H", 1001) + STOP
    system = proto() + EMPTY_DICT + text("little_endian") + b"\x88" + SETITEM + STOP
    listed = proto() + b"]" + MARK + b"".join(text(key) for key in keys) + b"e" + STOP
    tail = struct.pack("<q", 4) + bytes(16) if raw is None else raw
    return head + system + pickled + listed + tail


def safetensors(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def pt2(graph: object | None = None, extra: Mapping[str, bytes] | None = None) -> bytes:
    document = {"guards_code": [], "graph_module": {}} if graph is None else graph
    members = {
        "a/archive_format": b"pt2",
        "a/archive_version": b"0",
        "a/models/model.json": json.dumps(document).encode(),
        "a/data/weights/model_weights_config.json": b'{"config": {}}',
        "a/data/constants/model_constants_config.json": b'{"config": {}}',
    }
    return archive(members | dict(extra or {}))
