"""The allow-list: what a pickle stream may name. Exact (module, name) pairs, no prefixes, no attribute paths.

Source: what `torch.save` writes for a state_dict (torch 1.0 to 2.13), compared with the list that
`torch.load(weights_only=True)` keeps in `torch/_weights_only_unpickler.py`; left out is everything that calls another
object (`_rebuild_from_type_v2`), that carries NumPy or Python state, or that needs no storage of the file.
"""

DTYPES: dict[str, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "complex128": 16,
    "complex64": 8,
    "complex32": 4,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "bool": 1,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
}
"""Data types of torch with the bytes of one element."""

_DTYPE_ALIASES = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "cdouble": "complex128",
    "cfloat": "complex64",
    "chalf": "complex32",
    "long": "int64",
    "int": "int32",
    "short": "int16",
}

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}

STORAGES: dict[str, str] = {
    **{f"torch {name}": dtype for name, dtype in _STORAGES.items()},
    "torch.storage UntypedStorage": "uint8",
    "torch UntypedStorage": "uint8",
}
"""`module name` of a storage class, with the type of its elements."""

DTYPE_GLOBALS: dict[str, str] = {
    **{f"torch {name}": name for name in DTYPES},
    **{f"torch {alias}": name for alias, name in _DTYPE_ALIASES.items()},
}
"""`module name` of a data type."""

SCHEMES = frozenset({"torch per_tensor_affine", "torch per_channel_affine", "torch per_channel_affine_float_qparams"})
"""`module name` of how a quantized tensor is scaled."""

LAYOUTS = frozenset(
    {"torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc"}
)
"""Layouts of sparse tensors, as texts."""

CALLABLES = frozenset(
    {
        "collections OrderedDict",
        "collections Counter",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_qtensor",
        "torch._utils _rebuild_sparse_tensor",
        "torch._utils _rebuild_meta_tensor_no_storage",
        "torch.serialization _get_layout",
        "torch Size",
        "torch device",
        "_codecs encode",
        "builtins set",
        "__builtin__ set",
        "builtins complex",
        "__builtin__ complex",
        "builtins bytearray",
        "__builtin__ bytearray",
    }
)
"""`module name` of what a stream may call; the arguments of each are checked as well."""


def is_allowed(name: str) -> bool:
    """Return whether the stream may name `module name`."""
    return name in CALLABLES or name in STORAGES or name in DTYPE_GLOBALS or name in SCHEMES
