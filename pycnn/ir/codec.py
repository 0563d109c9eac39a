"""Attributes of operations as JSON and back, nothing of it code: a tagged list for each kind of value.

Numbers, strings, true, false and null stand for themselves; everything else is ["kind", ...]. Functions that torch runs
are named, and only those that take tensors have a name: `decode` calls nothing.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import overrides
from torch._ops import OpOverload

from pycnn import ops as own_ops

from . import ops
from .dim import Apply, Dim, Expr, Size, value_of
from .source import Source
from .torch_op import FACTORIES

_CLASSES: Mapping[str, type] = {
    name: found
    for name, found in vars(ops).items()
    if isinstance(found, type) and dataclasses.is_dataclass(found)
}
_TORCH_KINDS = (torch.dtype, torch.memory_format, torch.layout)
_FORBIDDEN = frozenset(["aten::from_file"])  # opens files


class CodecError(ValueError):
    """A value that cannot be written, or JSON that is none of ours; the sentence says which."""


def encode(value: Any) -> Any:
    """The value as JSON's types. CodecError: it has no spelling there."""
    if isinstance(value, Dim):
        return ["dim", value_of(value), encode_expr(value.expr)]
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else ["float", str(value)]
    if type(value) in (tuple, list):
        return [type(value).__name__, *map(encode, value)]
    if isinstance(value, torch.Size):
        return ["size", *map(encode, value)]
    if type(value) is dict:
        return ["dict", *([encode(k), encode(v)] for k, v in value.items())]
    if isinstance(value, slice):
        return ["slice", *map(encode, (value.start, value.stop, value.step))]
    if isinstance(value, Source):
        return ["source", value.index]
    if isinstance(value, _TORCH_KINDS):
        return ["torch", str(value).removeprefix("torch.")]
    if isinstance(value, torch.device):
        return ["device", str(value)]
    if type(value) in _CLASSES.values():
        return encode_dataclass(value)
    if callable(value):
        return ["function", _name_of(value)]
    raise CodecError(f"a {type(value).__name__} cannot be saved")


def encode_dataclass(value: Any) -> list[Any]:
    """["op", class, {field: value}] with the fields that differ from their defaults."""
    given = {}
    for f in dataclasses.fields(value):
        found = getattr(value, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if default is dataclasses.MISSING or type(found) is not type(default) or found != default:
            given[f.name] = encode(found)
    return ["op", type(value).__name__, given]


def encode_expr(expr: Expr) -> Any:
    if isinstance(expr, Size):
        return ["size", expr.value, expr.axis]
    if isinstance(expr, Apply):
        return [expr.function, encode_expr(expr.left), encode_expr(expr.right)]
    return int(expr)


def decode(data: Any, tensors: Mapping[int, Source]) -> Any:
    """What `encode` was given; `tensors`: the sources by their index. CodecError: it is none of ours."""
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise CodecError(f"{data!r} is no value")
    kind, *parts = data
    if kind in ("tuple", "list", "size"):
        made = [decode(part, tensors) for part in parts]
        return made if kind == "list" else tuple(made) if kind == "tuple" else torch.Size(made)
    if kind == "dict":
        return {decode(k, tensors): decode(v, tensors) for k, v in parts}
    if kind == "slice":
        start, stop, step = (decode(part, tensors) for part in parts)
        return slice(start, stop, step)
    if kind == "op":
        return decode_dataclass(parts, tensors)
    if len(parts) == 1:
        return _decode_named(kind, parts[0], tensors)
    if kind == "dim" and len(parts) == 2:
        return Dim(_plain_int(parts[0]), _decode_inner(parts[1]))
    raise CodecError(f"{data!r} is no value")


def decode_dataclass(parts: list[Any], tensors: Mapping[int, Source]) -> Any:
    name, given = parts
    if name not in _CLASSES:
        raise CodecError(f"no operation named {name!r}")
    found, hints = {key: decode(value, tensors) for key, value in given.items()}, _hints(name)
    for key, value in found.items():
        if not _fits(value, hints[key]):
            raise CodecError(f"{name}: {key}={value!r} is no {hints[key]}")
    return _CLASSES[name](**found)


@cache
def _hints(name: str) -> dict[str, Any]:
    return typing.get_type_hints(_CLASSES[name])


def _fits(value: Any, hint: Any) -> bool:
    """Whether a field annotated so may hold the value."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(each, inner[0]) for each in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type):
        return isinstance(value, hint)
    if origin is dict:
        return isinstance(value, dict)
    return callable(value) if origin is Callable else True


def decode_expr(data: Any) -> Expr:
    return data if type(data) is int else _decode_inner(data)


def _decode_inner(data: Any) -> Size | Apply:
    if not isinstance(data, list) or len(data) != 3:
        raise CodecError(f"{data!r} is no size")
    kind, a, b = data
    if kind == "size":
        return Size(_plain_int(a), _plain_int(b))
    if kind not in ("+", "-", "*", "//", "%"):
        raise CodecError(f"{kind!r} does not compute a size")
    return Apply(kind, decode_expr(a), decode_expr(b))


def _decode_named(kind: str, name: Any, tensors: Mapping[int, Source]) -> Any:
    if kind == "float":
        return float(name)
    if kind == "source" and name in tensors:
        return tensors[name]
    if kind == "device":
        return torch.device(str(name))
    if kind == "torch" and isinstance(getattr(torch, str(name), None), _TORCH_KINDS):
        return getattr(torch, name)
    if kind == "function":
        return _function(str(name))
    raise CodecError(f"no {kind} {name!r}")


def _plain_int(value: Any) -> int:
    if type(value) is not int:
        raise CodecError(f"{value!r} is no number")
    return value


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    """The functions a graph may name: those that take tensors, those that make them out of numbers, our own."""
    named = {overrides.resolve_name(f): f for f in overrides.get_testing_overrides()}
    named |= {f"torch.{f.__name__}": f for f in FACTORIES}
    named["pycnn.ops.timestep_embedding"] = own_ops.timestep_embedding
    return {str(name): f for name, f in named.items() if name}


@cache
def _names() -> dict[Callable[..., Any], str]:
    return {f: name for name, f in _functions().items()}


def _name_of(function: Callable[..., Any]) -> str:
    if isinstance(function, OpOverload) and function.namespace == "aten":
        name = str(function._schema.name)
        overload = function._overloadname
        return f"{name}.{overload}"
    name = _names().get(function, "")
    if not name:
        shown = getattr(function, "__qualname__", repr(function))
        raise CodecError(f"{shown} is no function of torch's own, which a file could name")
    return name


def _function(name: str) -> Callable[..., Any]:
    if name.startswith("aten::"):
        base, _, overload = name.partition(".")
        packet = getattr(torch.ops.aten, base.removeprefix("aten::"), None)
        if packet is None or base in _FORBIDDEN or overload not in packet.overloads():
            raise CodecError(f"no function {name!r}")
        found: Callable[..., Any] = getattr(packet, overload)
        return found
    if name not in _functions():
        raise CodecError(f"no function {name!r}")
    return _functions()[name]
