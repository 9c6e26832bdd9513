"""`torch._foreach_*`: one operation on each tensor of a list, as optimizers and moving averages use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.tensor import Tensor

_OF_ONE = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt",
    "tan", "tanh", "trunc",
)  # fmt: skip
_OF_MORE = (
    "add", "addcdiv", "addcmul", "clamp_max", "clamp_min", "div", "lerp", "maximum", "minimum", "mul", "pow", "sub",
)  # fmt: skip
_NUMBERS_TOO = {"maximum": "clamp_min", "minimum": "clamp_max"}  # as these operations on a number are called


def _rows(lists: Sequence[Any]) -> list[list[Any]]:
    """The operands of each tensor: one of every list, and the others as they are."""
    count = len(lists[0])
    _require_tensors(lists[0])
    for given in lists[1:]:
        if isinstance(given, (list, tuple)) and len(given) != count:
            if given and not isinstance(given[0], Tensor):
                raise RuntimeError("Tensor list must have same number of elements as scalar list.")
            raise RuntimeError(f"Tensor lists must have the same number of tensors, got {count} and {len(given)}")
    return [[given[i] if isinstance(given, (list, tuple)) else given for given in lists] for i in range(count)]


def _require_tensors(tensors: Sequence[Tensor]) -> None:
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")


def _apply(name: str, operands: list[Any], options: dict[str, Any]) -> Tensor:
    plain = name.rstrip("_")
    if plain in _NUMBERS_TOO and not isinstance(operands[1], Tensor):
        name = _NUMBERS_TOO[plain] + name[len(plain) :]
    if plain in ("addcdiv", "addcmul") and len(operands) > 3:
        options = {"value": operands.pop()}
    found: Tensor = getattr(operands[0], name)(*operands[1:], **options)
    return found


def _outside(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def each(self: Sequence[Tensor], *others: Any, **options: Any) -> tuple[Tensor, ...]:
        return tuple(_apply(name, operands, options) for operands in _rows((self, *others)))

    each.__doc__ = f"`{name}` of each tensor of the list."
    each.__name__ = each.__qualname__ = f"_foreach_{name}"
    return each


def _inside(name: str) -> Callable[..., Sequence[Tensor]]:
    def each(self: Sequence[Tensor], *others: Any, **options: Any) -> Sequence[Tensor]:
        for operands in _rows((self, *others)):
            _apply(f"{name}_", operands, options)
        return self

    each.__doc__ = f"`{name}_` on each tensor of the list."
    each.__name__ = each.__qualname__ = f"_foreach_{name}_"
    return each


def _foreach_norm(self: Sequence[Tensor], ord: Any = 2, dtype: Any = None) -> tuple[Tensor, ...]:
    """The vector norm of each tensor of the list."""
    from adjit.linalg import vector_norm

    _require_tensors(self)
    return tuple(vector_norm(tensor, ord, dtype=dtype) for tensor in self)


__all__ = ["_foreach_norm"]
for _name in (*_OF_ONE, *_OF_MORE, "copy"):
    globals()[f"_foreach_{_name}_"] = _inside(_name)
    __all__ += [f"_foreach_{_name}_"]
for _name in (*_OF_ONE, *_OF_MORE):
    globals()[f"_foreach_{_name}"] = _outside(_name)
    __all__ += [f"_foreach_{_name}"]
_foreach_zero_ = _inside("zero")
__all__ += ["_foreach_zero_"]
METHODS: dict[str, Any] = {}
