"""Derivatives of the bodies of composites, made once for all sizes where that is possible."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from adjit.compiler.particular import common_form, has_sizes_told, particular, without_carriers
from adjit.ir.frozen import changed
from adjit.ir.graph import Graph

# Which inputs of a body are numbers that differ from call to call.
_numbers: WeakKeyDictionary[Graph, tuple[int, ...]] = WeakKeyDictionary()


def with_numbers(callee: Graph, places: tuple[int, ...]) -> None:
    """Say which inputs of a body are numbers; no derivative is taken with respect to them."""
    _numbers[callee] = places


@lru_cache(maxsize=4096)
def derivative_of(callee: Graph, needs: tuple[bool, ...], outputs: tuple[int, ...] | None = None) -> Any:
    """The derivative of a composite's body (of `outputs`) with respect to the operands that need it."""
    from adjit.compiler.differentiate import differentiate

    found = _derivative_of_particular(callee, needs, outputs)
    if found is not None:
        return found
    wanted = [i for i, (v, need) in enumerate(zip(callee.inputs, needs, strict=True)) if need and v.dtype.is_continuous]
    derivative = differentiate(callee, wanted, outputs)
    numbers = {callee.inputs[place] for place in _numbers.get(callee, ())}
    if numbers:
        from adjit.compiler.nodewise import multiply_plainly

        for node in callee.nodes:
            if node.inputs and not node.regions and numbers.issuperset(node.inputs):
                numbers.update(node.outputs)
        taken = zip(derivative.backward.inputs[len(derivative.seeded) :], derivative.residuals, strict=True)
        multiply_plainly(derivative.backward, [own for own, value in taken if value in numbers])
    return derivative


def _derivative_of_particular(callee: Graph, needs: tuple[bool, ...], outputs: tuple[int, ...] | None) -> Any:
    """The derivative of a body that was made from an open one, made from that one's; None where they differ.

    An open derivative may keep more, for the sizes that it tells.
    """
    common = common_form(callee)
    if common is None:
        return None
    body, sizes = common
    derivative = (bare_derivative if has_sizes_told(callee) else derivative_of)(body, needs, outputs)
    forward = particular(derivative.forward, sizes)
    backward = particular(derivative.backward, sizes)
    place = {value: index for index, value in enumerate(body.inputs)}
    count = len(body.outputs)
    residuals = tuple(
        callee.inputs[place[value]] if value in place else copy
        for value, copy in zip(derivative.residuals, forward.outputs[count:], strict=True)
    )
    inside = {value for node in backward.walk() for value in node.inputs} | set(backward.outputs)
    if any(value not in inside for value in backward.inputs[len(derivative.seeded) :]):
        return None
    return changed(derivative, forward=forward, backward=backward, residuals=residuals)


@lru_cache(maxsize=1024)
def bare_derivative(callee: Graph, needs: tuple[bool, ...], outputs: tuple[int, ...] | None = None) -> Any:
    """The derivative of an open body for who tells its sizes otherwise: no value is kept for them alone."""
    found = derivative_of(callee, needs, outputs)
    backward, kept = without_carriers(found.backward, len(found.seeded))
    count = len(callee.outputs)
    forward = found.forward
    residuals = tuple(found.residuals[number] for number in kept)
    ends = (*forward.outputs[:count], *(forward.outputs[count + number] for number in kept))
    forward = forward.with_parts(forward.inputs, forward.nodes, ends)
    return changed(found, forward=forward, backward=backward, residuals=residuals)
