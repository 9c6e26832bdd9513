"""Hooks of all modules at once; they run before a module's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.utils.hooks import Hooks, RemovableHandle

FORWARD_PRE, FORWARD, BACKWARD_PRE, BACKWARD, LEGACY_BACKWARD = Hooks(), Hooks(), Hooks(), Hooks(), Hooks()
OF_CALLS = (FORWARD_PRE, FORWARD, BACKWARD_PRE, BACKWARD, LEGACY_BACKWARD)
PARAMETER_REGISTRATION, BUFFER_REGISTRATION, MODULE_REGISTRATION = Hooks(), Hooks(), Hooks()


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before every module's `forward`."""
    return RemovableHandle(FORWARD_PRE, (hook, False, False))  # type: ignore[arg-type]


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after every module's `forward`."""
    return RemovableHandle(FORWARD, (hook, with_kwargs, always_call))  # type: ignore[arg-type]


def _not_both(other: Hooks) -> None:
    if other:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only "
            "one of them."
        )


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` on the node that made each module's output; deprecated."""
    _not_both(BACKWARD)
    return RemovableHandle(LEGACY_BACKWARD, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` when the gradients of a module's outputs are there."""
    return RemovableHandle(BACKWARD_PRE, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when the gradients of a module's inputs are there."""
    _not_both(LEGACY_BACKWARD)
    return RemovableHandle(BACKWARD, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, parameter)` when a parameter is registered; what it returns replaces it."""
    return RemovableHandle(PARAMETER_REGISTRATION, hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` when a buffer is registered; what it returns replaces it."""
    return RemovableHandle(BUFFER_REGISTRATION, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` when a module is registered; what it returns replaces it."""
    return RemovableHandle(MODULE_REGISTRATION, hook)


def registered(hooks: Hooks, module: Any, name: str, value: Any) -> Any:
    """What is registered in the end."""
    for hook in tuple(hooks.values()):
        replaced = hook(module, name, value)
        value = value if replaced is None else replaced
    return value
