"""Backward hooks of modules, by way of identities around a module's inputs and outputs.

An identity in the graph has a value of its own, so a hook on it sees the gradient at the module's border and nothing
else.  The same code works in eager mode and in a trace, where hooks run once, on traced gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from adjit.composite import composite
from adjit.ir.ops.structure import reshape
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import view

Gradients: TypeAlias = "tuple[Tensor | None, ...]"
_NAME = "BackwardHookFunctionBackward"


@composite(_NAME)
def _together(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensors)


def tap(tensors: Sequence[Tensor], watch: Callable[[Gradients], Sequence[Tensor | None] | None]) -> list[Tensor]:
    """The tensors again, as results of an identity; `watch` sees all their gradients at once and may replace them."""
    if len(tensors) == 1:
        (tensor,) = tensors
        single = view(reshape, tensor, {"shape": tensor._tensor_type.dims}, _NAME)

        def pass_on(gradient: Tensor) -> Tensor | None:
            replaced = watch((gradient,))
            return None if replaced is None else replaced[0]

        single.register_hook(pass_on)
        return [single]
    # Of several tensors some may get no gradient.  The outer identity's results collect what comes; when the inner
    # one's results are reached, all that will come has come.
    inner = _together(tuple(tensors))
    outer = _together(inner)
    arrived: dict[int, Tensor] = {}
    replacement: list[Sequence[Tensor | None]] = []

    def collect(index: int) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            arrived[index] = gradient
            replacement.clear()

        return hook

    def release(index: int) -> Callable[[Tensor], Tensor | None]:
        def hook(gradient: Tensor) -> Tensor | None:
            if not replacement:
                given = tuple(arrived.get(position) for position in range(len(tensors)))
                replaced = watch(given)
                replacement.append(given if replaced is None else replaced)
                arrived.clear()
            return replacement[0][index]

        return hook

    for index, (first, last) in enumerate(zip(inner, outer, strict=True)):
        if first.requires_grad:
            first.register_hook(release(index))
            last.register_hook(collect(index))
    return list(outer)


class BackwardHooks:
    """The full backward hooks of one call of a module: `inputs` and `outputs` put the identities in place."""

    def __init__(self, module: Any, hooks: Sequence[Any], pre_hooks: Sequence[Any]) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: Gradients | None = None
        self.input_count = 0
        self.places: list[int] | None = None

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those that require grad behind an identity."""
        self.input_count = len(args)
        places = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]
        if not places or not STATE.recording:
            return args
        self.places = places
        found = list(args)
        for place, tensor in zip(places, tap([args[i] for i in places], self._on_inputs), strict=True):
            found[place] = tensor
        return tuple(found)

    def outputs(self, result: Any) -> Any:
        """The module's result, behind an identity."""
        if not STATE.recording:
            return result
        single = not isinstance(result, tuple)
        results = (result,) if single else result
        places = [i for i, item in enumerate(results) if isinstance(item, Tensor) and item.requires_grad]
        if not places:
            return result
        count = len(results)

        def on_outputs(gradients: Gradients) -> Sequence[Tensor | None] | None:
            return self._on_outputs(_spread(gradients, places, count), places)

        found = list(results)
        for place, tensor in zip(places, tap([results[i] for i in places], on_outputs), strict=True):
            found[place] = tensor
        return found[0] if single else tuple(found)

    def _on_outputs(self, gradients: Gradients, places: Sequence[int]) -> Sequence[Tensor | None] | None:
        self.grad_outputs = gradients
        changed = False
        for hook in self.pre_hooks:
            result = hook(self.module, self.grad_outputs)
            if result is None:
                continue
            result = _as_tuple(result)
            if len(result) != len(gradients):
                raise RuntimeError(
                    f"Backward pre hook returned an invalid number of grad_output, got {len(result)}, but expected "
                    f"{len(gradients)}"
                )
            self.grad_outputs, changed = result, True
        chosen = [self.grad_outputs[i] for i in places] if changed else None
        if self.places is None and self.hooks:
            self._on_no_inputs()
        return chosen

    def _on_no_inputs(self) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module."
            "register_full_backward_hook for more details.",
            UserWarning,
            stacklevel=5,
        )
        for hook in self.hooks:
            result = hook(self.module, (None,) * self.input_count, self.grad_outputs)
            if result is not None and not (isinstance(result, tuple) and all(item is None for item in result)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None for "
                    "all gradients."
                )
        self.grad_outputs = None

    def _on_inputs(self, gradients: Gradients) -> Sequence[Tensor | None] | None:
        if self.grad_outputs is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. This happens because the "
                "gradient in your nn.Module flows to the Module's input without passing through the Module's output. "
                "Make sure that the output depends on the input and that the loss is computed based on the output."
            )
        assert self.places is not None
        current = _spread(gradients, self.places, self.input_count)
        changed = False
        for hook in self.hooks:
            result = hook(self.module, current, self.grad_outputs)
            if result is None:
                continue
            result = _as_tuple(result)
            if len(result) != len(current):
                raise RuntimeError(
                    f"Backward hook returned an invalid number of grad_input, got {len(result)}, but expected "
                    f"{len(current)}"
                )
            current, changed = result, True
        self.grad_outputs = None
        return [current[i] for i in self.places] if changed else None


def _spread(gradients: Gradients, places: Sequence[int], count: int) -> Gradients:
    """The gradients at their places among `count`, None elsewhere."""
    found: list[Tensor | None] = [None] * count
    for place, gradient in zip(places, gradients, strict=True):
        found[place] = gradient
    return tuple(found)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def first_tensor(result: Any) -> Tensor | None:
    """The tensor whose node a legacy backward hook is attached to: the first one in a nested result."""
    while not isinstance(result, Tensor):
        if isinstance(result, dict):
            result = next((item for item in result.values() if isinstance(item, Tensor)), None)
        elif isinstance(result, (tuple, list)) and result:
            result = result[0]
        else:
            return None
        if result is None:
            return None
    return result


def attach_legacy(module: Any, args: tuple[Any, ...], result: Any, hooks: Sequence[Any]) -> None:
    """Call `hook(module, grad_input, grad_output)` when the node that made the result has been pulled back.

    `grad_input` has one entry for each operand of that node, so a convolution gives those of input, weight and bias.
    """
    tensor = first_tensor(result)
    function = None if tensor is None else tensor.grad_fn
    if function is None:
        return
    _warn_of_legacy(function, args, result)
    for hook in hooks:

        def on_node(grad_input: Gradients, grad_output: Gradients, hook: Any = hook) -> Any:
            return hook(module, grad_input, grad_output)

        function.register_hook(on_node)


def _warn_of_legacy(function: Any, args: tuple[Any, ...], result: Any) -> None:
    """Say where a hook on one node does not see the gradients of the module's arguments alone."""
    advice = "Please use register_full_backward_hook to get the documented behavior."
    results = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(item, Tensor) for item in results):
        problem = (
            "Using non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors is "
            "deprecated and will be removed in future versions. This hook will be missing some of the grad_output."
        )
    elif not all(isinstance(item, Tensor) for item in args):
        problem = (
            "Using non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of "
            "Tensors is deprecated and will be removed in future versions. This hook will be missing some of the "
            "grad_input."
        )
    elif len(results) > 1:
        problem = (
            "Using a non-full backward hook when outputs are generated by different autograd Nodes is deprecated and "
            "will be removed in future versions. This hook will be missing some grad_output."
        )
    else:
        given = {item.grad_fn for item in args if item.grad_fn is not None}
        if {following for following, _ in function.next_functions} == given:
            return
        problem = (
            "Using a non-full backward hook when the forward contains multiple autograd Nodes is deprecated and will "
            "be removed in future versions. This hook will be missing some grad_input."
        )
    warnings.warn(f"{problem} {advice}", FutureWarning, stacklevel=5)


def forward_pre_hooks(module: Any, kind: type) -> list[tuple[int, Any]]:
    """The hooks of class `kind` before a module's `forward`, each with its key."""
    listed = [(key, entry[0]) for key, entry in module._forward_pre_hooks.items()]
    return [(key, hook) for key, hook in listed if isinstance(hook, kind)]
