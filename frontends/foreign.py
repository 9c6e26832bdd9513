"""Functions of the host in programs: `host_call` runs Python in the middle of native code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from adjit import trees
from adjit.autograd.record import NO_RULE, close
from adjit.dispatch import apply
from adjit.dtypes import to_ir
from adjit.ir.graph import Attribute
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.state import STATE
from adjit.symbolic_size import as_dim
from adjit.tensor import Tensor

METHODS: dict[str, Any] = {}
__all__ = ["host_call"]

_numbers = count()
_names: WeakKeyDictionary[Callable[..., Any], dict[tuple[TensorType, ...], str]] = WeakKeyDictionary()

_lasting: dict[Callable[..., Any], dict[tuple[TensorType, ...], str]] = {}


def host_call(callback: Callable[..., Any], result_shape_dtypes: Any, *args: Tensor) -> Any:
    """callback(*arrays): a Python function of NumPy arrays, run at this point of eager code or of a compiled program.

    `result_shape_dtypes` says what it returns: a tree of tensors, or of anything with a `shape` and a `dtype`.  It has
    no derivative: `adjit.custom_vjp` or `adjit.custom_jvp` gives it one.  Under `vmap` it runs once for each example.
    Errors: RuntimeError where the function returns something else.

    >>> import adjit as torch
    >>> x = torch.tensor([1.0, 4.0])
    >>> torch.compile(lambda x: torch.host_call(lambda a: a ** 0.5, x, x) + 1)(x)
    tensor([2., 3.])
    """
    likes, structure = trees.flatten(result_shape_dtypes)
    types = tuple(TensorType(to_ir(like.dtype), tuple(as_dim(size) for size in like.shape)) for like in likes)
    if STATE.tracer is not None:
        attributes: dict[str, Attribute] = {"function": _registered(callback, types), "types": types}
        found = apply(primitive_named("host_call"), args, attributes)
        results = [found] if isinstance(found, Tensor) else list(found)
    else:
        arrays = [np.array(x.detach().numpy()) for x in args]
        results = [
            Tensor._wrap(array, type.dtype, type=type)
            for array, type in zip(_checked(callback, types, arrays), types, strict=True)
        ]
        if STATE.recording and any(x.requires_grad for x in args):
            for tensor in results:
                if tensor._dtype.is_continuous:
                    close(tensor, "HostCall", NO_RULE)
    return trees.unflatten(structure, results)


def _registered(callback: Callable[..., Any], types: tuple[TensorType, ...]) -> str:
    """The name under which programs find the function."""
    from adjit.runtime.host import register_host_function

    try:
        known = _names.setdefault(callback, {})
    except TypeError:  # a ufunc of NumPy takes no weak reference
        known = _lasting.setdefault(callback, {})
    if types not in known:
        known[types] = f"adjit.host.{next(_numbers)}"

        def run(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            return _checked(callback, types, arrays)

        run.symbolic = getattr(callback, "symbolic", None)  # type: ignore[attr-defined]
        register_host_function(known[types], run)
    return known[types]


def _checked(
    callback: Callable[..., Any], types: Sequence[TensorType], arrays: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """What the function returns, as arrays of the types promised."""
    leaves = trees.flatten(callback(*arrays))[0]
    if len(leaves) != len(types):
        raise RuntimeError(f"host_call: the function returned {len(leaves)} arrays, not {len(types)}")
    found = []
    for leaf, type in zip(leaves, types, strict=True):
        array = np.array(leaf.detach().numpy() if isinstance(leaf, Tensor) else leaf, type.dtype.storage, order="C")
        if type.is_static and array.shape != type.dims:
            raise RuntimeError(f"host_call: the function returned the shape {list(array.shape)}, not {type}")
        found.append(array)
    return tuple(found)
