"""Random draws of one shape that come often in eager mode: a native program for each, once it would have paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from math import prod
from typing import Any

from adjit.generator import DRAWING
from adjit.ir.types import DType
from adjit.state import STATE
from adjit.tensor import Tensor

Draw = Callable[[tuple[Any, ...], DType, Any], Tensor]
# So many eager draws take as long as a program takes to compile; so many programs are kept of each kind of draw.
_DRAWS, _PROGRAMS = 1000, 64
# Shapes whose draws are counted at a time.
_COUNTED = 1024
# Larger draws are few, and take long enough to let other threads run.
_LARGEST = 4096


def frequent(draw: Draw) -> Draw:
    """The draw, done by a program where the default generator has drawn the same shape often; with the same bits."""
    draws: Counter[tuple[Any, DType]] = Counter()
    programs: dict[tuple[Any, DType], Callable[[], Tensor]] = {}

    @wraps(draw)
    def drawn(shape: tuple[Any, ...], dtype: DType, generator: Any) -> Tensor:
        if generator is not None or STATE.tracer is not None or prod(shape) > _LARGEST:
            return draw(shape, dtype, generator)
        key = shape, dtype
        program = programs.get(key)
        if program is not None:
            with DRAWING:
                return program()
        if len(draws) >= _COUNTED and key not in draws:
            draws.clear()
        draws[key] += 1
        if draws[key] > _DRAWS and len(programs) < _PROGRAMS:
            from adjit.jit import compile as compiled

            programs[key] = compiled(partial(draw, shape, dtype, None), capture=False)
        return draw(shape, dtype, generator)

    return drawn
