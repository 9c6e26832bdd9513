"""`.grad` of tensors outside a branch or a loop, as something that the part of the program sets.

Whether a tensor has a gradient may depend on the branch that runs: then it is known when the program has run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from adjit.capture.numbers import Number
from adjit.places import Place
from adjit.state import STATE
from adjit.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Unsure:
    """A gradient that is there if `present` is true when the program runs."""

    present: Number
    gradient: Tensor

    def refuse(self) -> NoReturn:
        """TraceError: nothing can be done with a gradient that may be None."""
        from adjit.capture.values import refuse

        refuse(
            "whether this .grad is None depends on an `if` or a loop on a traced tensor",
            "optimizer.zero_grad(set_to_none=False) before it gives the gradient a value on every way; or let "
            "optimizer.step() stand in the same branch as backward()",
        )


class GradPlace(Place):
    """Where a tensor keeps its gradient: what stands there is (whether there is one, the gradient or zeros)."""

    __slots__ = ()

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor, "grad")

    def read(self) -> Any:
        """The pair, as the running trace has it."""
        tracer = STATE.tracer
        assert tracer is not None
        found = tracer.gradient_slot(self.container)
        if isinstance(found, Unsure):
            return found.present, found.gradient
        if found is None:
            from adjit.creation import zeros_like

            return False, zeros_like(self.container.detach())
        return True, found

    def write(self, value: Any) -> None:
        """Put a pair there; after a call of the program, what the pair says."""
        present, gradient = value
        tracer = STATE.tracer
        if tracer is None:
            self.container._grad = gradient if present else None
        elif isinstance(present, Number):
            tracer.set_grad(self.container, Unsure(present, gradient.detach()))
        else:
            tracer.set_grad(self.container, gradient.detach() if present else None)

    def __str__(self) -> str:
        name = self.container.__dict__.get("_trace_name")
        return ".grad" if name is None else f"{name}.grad"
