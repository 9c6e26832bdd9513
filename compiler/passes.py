"""Passes that users put into the compiler.

A pass is a function `Graph -> Graph` that keeps what the program takes and returns.  It runs after a stage, on forward
and backward programs alike; what it returns is verified, and new nodes say that the pass made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from adjit.ir.errors import VerifyError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph

Pass: TypeAlias = Callable[[Graph], Graph]
PLACES = ("trace", "legalize", "simplify")


@frozen
class UserPass:
    """A registered pass: its name, the stage that it follows, and the function."""

    name: str
    after: str
    function: Pass

    def run(self, graph: Graph) -> Graph:
        """The graph after the pass.

        Errors: VerifyError, naming the pass, for a graph that breaks a rule of the IR or takes or returns other types.
        """
        from adjit.ir.verify import verify

        before = set(graph.walk())
        found = self.function(graph)
        if not isinstance(found, Graph):
            raise TypeError(f"pass {self.name} returned a {type(found).__name__}, not a Graph")
        try:
            verify(found)
        except VerifyError as error:
            raise VerifyError(f"after pass {self.name}: {error}") from error
        for what, old, new in (("inputs", graph.inputs, found.inputs), ("results", graph.outputs, found.outputs)):
            if [value.type for value in old] != [value.type for value in new]:
                types = ", ".join(str(value.type) for value in new)
                raise VerifyError(f"after pass {self.name}: the {what} of @{graph.name} are ({types})")
        for node in found.walk():
            if node not in before:
                node.location = node.location.made(self.name, (self.function.__doc__ or "").strip().partition("\n")[0])
        return found


_registered: dict[str, UserPass] = {}


def register(
    function: Pass | None = None, *, after: str = "simplify", name: str | None = None
) -> Callable[[Pass], Pass] | Pass:
    """Put a pass into the compiler, after the stage trace, legalize or simplify; also a decorator.

    Programs compiled from now on go through it; those of one place run in the order in which they were registered.
    Errors: ValueError for an unknown place, and for a name that is taken.
    """
    if function is None:
        return lambda given: _register(given, after, name)
    return _register(function, after, name)


def _register(function: Pass, after: str, name: str | None) -> Pass:
    own = name or function.__name__
    if after not in PLACES:
        raise ValueError(f"a pass stands after {', '.join(PLACES)}, not {after!r}")
    if own in (*PLACES, "fuse", "lower", "llvm", "asm", *_registered):
        raise ValueError(f"there is a stage or pass {own!r} already")
    _registered[own] = UserPass(own, after, function)
    return function


def unregister(name: str) -> None:
    """Take a pass out again.  Errors: KeyError where there is none of this name."""
    del _registered[name]


@contextmanager
def using(function: Pass, *, after: str = "simplify", name: str | None = None) -> Iterator[None]:
    """Programs compiled inside go through a pass."""
    own = name or function.__name__
    _register(function, after, own)
    try:
        yield
    finally:
        unregister(own)


def passes_after(stage: str) -> list[UserPass]:
    """The passes that stand after a stage, in order."""
    return [each for each in _registered.values() if each.after == stage]


def any_registered() -> bool:
    """Whether there are passes of users."""
    return bool(_registered)
