"""Tells arithmetic on sizes from any other Python: for the expressions and guards that torch evaluates in a graph."""

import ast

MAX_LENGTH = 20_000
_FUNCTIONS_TEXT = """
Symbol Integer Float Rational Add Mul Pow Max Min Mod Abs Eq Ne Lt Le Gt Ge And Or Not max min floor ceiling Equality
Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan FloorDiv ModularIndexing Where PythonMod CleanDiv
CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv IntTrueDiv ToFloat TruncToInt RoundToInt
Identity OpaqueUnaryFn_sqrt
"""
_FUNCTIONS = frozenset(_FUNCTIONS_TEXT.split())
_NAMES = frozenset({"L", "True", "False", "true", "false", "inf", "oo", "int_oo"})
_METHODS = frozenset({"size", "stride", "storage_offset"})
_NODES = (
    ast.Expression,
    ast.Compare,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.IfExp,
    ast.cmpop,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
    ast.keyword,
    ast.Subscript,
)


def is_plain(text: object) -> bool:
    """Return whether `text` is arithmetic and comparison on sizes, such as `(L['x'].size()[2] % 4) == 0`.

    Allowed are numbers, texts that are names, symbols (`s77`, `u0`), the functions that torch prints, and the three
    methods that ask a tensor for its size.
    """
    if not isinstance(text, str) or len(text) > MAX_LENGTH or "__" in text:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_allowed(node) for node in ast.walk(tree))


def _allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float) or _is_name(node.value)
    if isinstance(node, ast.Call):
        return _is_function(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS
    if isinstance(node, ast.Name):
        return node.id in _NAMES or node.id in _FUNCTIONS or (node.id[:1] in "sufz" and node.id[1:].isdecimal())
    return isinstance(node, _NODES)


def _is_function(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id in _FUNCTIONS)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier() and len(value) <= 200
