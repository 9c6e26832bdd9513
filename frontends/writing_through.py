"""Writes through views: what a memory holds after a view of it was overwritten, as recorded or traced operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.computed_views import applied, overwritten
from adjit.ir.graph import Attribute
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Size
from adjit.ir.types import BOOL, I64
from adjit.tensor import Tensor

# What shows each element once at most, and is undone as such; and what shows other numbers than those in the memory.
_UNDONE = {"reshape", "permute", "detach", "slice", "gather"}
_OF_OTHERS = {"bitcast", "real", "imag", "view_as_real", "view_as_complex"}


def write_through(root: Tensor, chain: Sequence[Any], new: Tensor) -> Tensor:
    """`root` with the part that `chain` shows replaced by `new`, as recorded or traced operations."""
    stages = [root]
    for op, items in chain[:-1]:
        stages.append(applied(op, stages[-1], items))
    start, stop = _by_places(chain)
    for (op, items), outer in zip(reversed(chain[stop:]), reversed(stages[stop:]), strict=True):
        new = _invert(op, dict(items), outer, new)
    if start < stop:
        new = _overwrite_places(chain[start:stop], stages[start], new)
    for (op, items), outer in zip(reversed(chain[:start]), reversed(stages[:start]), strict=True):
        new = _invert(op, dict(items), outer, new)
    return new


def _by_places(chain: Sequence[Any]) -> tuple[int, int]:
    """From where to where in a chain elements must be followed one by one, not undone step by step.

    A step may show an element several times, of which the steps after it leave one: what the others show is old.
    """
    names = [op.name for op, _ in chain]
    start = next((k for k, name in enumerate(names) if name not in _UNDONE and name not in _OF_OTHERS), len(names))
    return start, next((k for k in range(start, len(names)) if names[k] in _OF_OTHERS), len(names))


def _invert(op: Primitive, attributes: dict[str, Any], outer: Tensor, new: Tensor) -> Tensor:
    """`outer` after its view `op(outer)` was overwritten by `new`."""
    dims = outer._tensor_type.dims
    match op.name:
        case "reshape":
            return _applied(op, (new,), {"shape": dims})
        case "permute":
            perm = attributes["perm"]
            return _applied(op, (new,), {"perm": tuple(perm.index(axis) for axis in range(len(perm)))})
        case "detach":
            return new
        case "bitcast":
            return _applied(op, (new,), {"dtype": outer._dtype})
        case "slice":
            return _overwrite_slice(outer, new, **attributes)
        case "gather":
            return overwritten(outer, new, **attributes)
        case "real":
            return _applied(primitive_named("complex"), (new, _applied(primitive_named("imag"), (outer,), {})), {})
        case "imag":
            return _applied(primitive_named("complex"), (_applied(primitive_named("real"), (outer,), {}), new), {})
        case "view_as_real" | "view_as_complex":
            other = "view_as_complex" if op.name == "view_as_real" else "view_as_real"
            return _applied(primitive_named(other), (new,), {})
    return _overwrite_places([(op, tuple(attributes.items()))], outer, new)


def _overwrite_places(chain: Sequence[Any], outer: Tensor, new: Tensor) -> Tensor:
    """`new` put where `chain` takes its elements from: the positions in `outer`, seen through it, say where."""
    from adjit.dims import numel_of, shape_of

    dims, total, count = outer._tensor_type.dims, numel_of(shape_of(outer)), numel_of(shape_of(new))
    reshape, scatter = primitive_named("reshape"), primitive_named("scatter_set")
    places = _applied(reshape, (_counted(total),), {"shape": dims})
    for op, items in chain:
        places = places if op.name == "detach" else applied(op, places, items)
    flat = _applied(reshape, (outer,), {"shape": (total,)})
    parts = [_applied(reshape, (part,), {"shape": (count,)}) for part in (new, places)]
    return _applied(reshape, (_applied(scatter, (flat, *parts), {"axes": (0,)}),), {"shape": dims})


def _counted(count: Size) -> Tensor:
    """0, 1, ... count - 1."""
    return _applied(primitive_named("iota"), (), {"shape": (count,), "axis": 0, "dtype": I64})


def _overwrite_slice(
    outer: Tensor, new: Tensor, start: Sequence[Size], size: Sequence[Size], step: Sequence[int]
) -> Tensor:
    """`new` where the slice reaches, `outer` elsewhere."""
    dims = outer._tensor_type.dims
    if any(s < 0 for s in step):  # count the same positions upwards
        flip: dict[str, Attribute] = {
            "start": tuple(n - 1 if s < 0 else 0 for n, s in zip(size, step, strict=True)),
            "size": tuple(size),
            "step": tuple(-1 if s < 0 else 1 for s in step),
        }
        new = _applied(primitive_named("slice"), (new,), flip)
        start = tuple(a + (n - 1) * s if s < 0 else a for a, n, s in zip(start, size, step, strict=True))
        step = tuple(abs(s) for s in step)
    from adjit.dispatch import literal

    low = tuple(start)
    covered = [(n - 1) * s + 1 if n != 0 else 0 for n, s in zip(size, step, strict=True)]
    high = tuple(d - a - c for d, a, c in zip(dims, start, covered, strict=True))
    padding: dict[str, Attribute] = {"low": low, "high": high, "interior": tuple(s - 1 for s in step)}
    pad, expand, where = primitive_named("pad"), primitive_named("expand"), primitive_named("where")
    everywhere = _applied(expand, (literal(True, BOOL),), {"shape": tuple(size)})
    inside = _applied(pad, (everywhere,), {**padding, "value": False})
    return _applied(where, (inside, _applied(pad, (new,), {**padding, "value": 0}), outer), {})


def _applied(op: Primitive, operands: Sequence[Tensor], attributes: dict[str, Attribute]) -> Tensor:
    from adjit.dispatch import apply

    result = apply(op, operands, attributes)
    assert isinstance(result, Tensor)
    return result
