"""Random numbers for eager mode: operation by operation at first, by native programs once many were drawn.

A program draws any number of them.  The bits do not depend on which way was taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.bodies import SIZE_ONLY
from adjit.creation import too_large
from adjit.dims import numel_of
from adjit.dispatch import apply, approach_native, literal
from adjit.ir.errors import asks_memory
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.shape import Dim
from adjit.ir.types import BOOL, I32, I64, DType, TensorType
from adjit.runtime.making import seconds_running
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.runtime.executable import Executable

# Seconds that a function's draws take operation by operation until its program is made: about what making it takes,
# with loading the compiler for it.
_LATE = 0.1
_spent: Counter[Any] = Counter()
_programs: dict[Any, Executable] = {}


@asks_memory
def drawn(
    function: Callable[..., Tensor],
    dtype: DType,
    keys: Sequence[np.ndarray],
    shape: tuple[int, ...],
    numbers: Sequence[float] = (),
) -> Tensor:
    """`function(*words, *numbers)` of `dtype`, which goes element by element; `random_bits` makes words of each key."""
    count = numel_of(shape)
    if count * dtype.storage.itemsize >= 1 << 63:
        raise too_large(shape)
    known = function, len(keys), dtype, len(numbers)
    program = _programs.get(known)
    if program is None:
        if _spent[known] < _LATE:
            return _by_operations(known, keys, shape, numbers)
        program = _programs[known] = _program(*known)
    approach_native()
    told = [literal(number, dtype)._array for number in numbers]
    (found,) = program.run([*keys, *told, SIZE_ONLY], sizes={"n": count})  # type: ignore[list-item]
    return Tensor._wrap(found.reshape(shape), dtype)


def _by_operations(
    known: Any, keys: Sequence[np.ndarray], shape: tuple[int, ...], numbers: Sequence[float]
) -> Tensor:
    start = seconds_running()
    words = [Tensor._wrap(PRIMITIVES["random_bits"].reference(key, shape=shape), I32) for key in keys]
    found: Tensor = known[0](*words, *numbers)
    _spent[known] += seconds_running() - start  # type: ignore[assignment]
    return found


def _program(function: Callable[..., Tensor], draws: int, dtype: DType, numbers: int) -> Executable:
    """What draws n numbers, whatever n."""
    from adjit.compiler.compile import compile_graph
    from adjit.composite import trace_function

    def body(*given: Tensor) -> tuple[Tensor]:
        shape = given[-1].shape
        words = [apply(PRIMITIVES["random_bits"], (key,), {"shape": shape}) for key in given[:draws]]
        told = [apply(PRIMITIVES["expand"], (number,), {"shape": shape}) for number in given[draws:-1]]
        return (function(*words, *told),)

    types = [TensorType(I64, (2,))] * draws + [TensorType(dtype, ())] * numbers
    graph = trace_function(body, "draw", [*types, TensorType(BOOL, (Dim.named("n"),))], {"n": 37})
    return compile_graph(graph, strict=True, quick=False)
