"""PyTorch's `torch.compiler`: what a program asks of the compiler, or tells it.

The functions stand in `adjit.compiler`, which is also the package that compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adjit.state import STATE

__all__ = [
    "allow_in_graph", "assume_constant_result", "cudagraph_mark_step_begin", "disable", "is_compiling",
    "is_dynamo_compiling", "is_exporting", "list_backends", "nested_compile_region", "reset",
]  # fmt: skip


def is_compiling() -> bool:
    """Whether the code that asks is being traced to be compiled."""
    tracer = STATE.tracer
    while tracer is not None and tracer.changes is None:  # a part of a program, or a transformation in it
        tracer = tracer.parent
    return tracer is not None


def is_dynamo_compiling() -> bool:
    """`is_compiling`: there is one tracer."""
    return is_compiling()


def is_exporting() -> bool:
    """False: nothing is exported."""
    return False


def reset() -> None:
    """Nothing: a program whose surroundings changed is made anew without being told."""


def disable(
    fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None, wrapping: bool = True
) -> Any:
    """Mark a function, module or class as one that `compile` returns as it is; also a decorator.

    Inside another compiled function it is part of that program, which is always whole.
    """
    if fn is None:
        return partial(disable, recursive=recursive, reason=reason, wrapping=wrapping)
    fn._compile_disabled = True  # type: ignore[attr-defined]
    return fn


def allow_in_graph(fn: Any) -> Any:
    """The function itself: every function goes into the program."""
    return fn


def nested_compile_region(fn: Callable[..., Any] | None = None) -> Any:
    """The function itself: equal parts of a program are compiled once without being told."""
    return nested_compile_region if fn is None else fn


def assume_constant_result(fn: Any) -> Any:
    """The function itself: what does not depend on tensors is a constant of the program, and checked at each call."""
    return fn


def cudagraph_mark_step_begin() -> None:
    """Nothing: there are no CUDA graphs."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names that `compile` has for its backends."""
    return ["llvm"]
