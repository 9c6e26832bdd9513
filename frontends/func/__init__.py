"""Function transformations under torch.func's names: derivatives and vectorisation that compose freely."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adjit.func.batching import vmap
from adjit.func.forward import hessian, hvp, jacfwd, jvp, linearize
from adjit.func.reverse import grad, grad_and_value, jacrev, value_and_grad, vjp

__all__ = [
    "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "hvp", "jacfwd", "jacrev", "jet", "jvp",
    "linearize", "replace_all_batch_norm_modules_", "stack_module_state", "value_and_grad", "vjp", "vmap",
]  # fmt: skip


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of several modules of one structure, each stacked along a new first axis.

    Errors: RuntimeError for no models, or models of different classes or modes.
    """
    from adjit.joining import stack

    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(states: list[dict[str, Any]], variables: bool) -> dict[str, Any]:
        return {
            key: stack([state[key] for state in states])
            .detach()
            .requires_grad_(variables and states[0][key].requires_grad)
            for key in states[0]
        }

    return stacked([dict(m.named_parameters()) for m in models], True), stacked(
        [dict(m.named_buffers()) for m in models], False
    )


def functionalize(func: Any, *, remove: str = "mutations") -> Any:
    """The function itself: every traced program is functional, its writes in place are results of it."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. Valid options are:\n"
            "     remove='mutations' and remove='mutations_and_views'"
        )
    return func


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """`root`, a module, whose batch norms keep no running statistics from here on, which `vmap` could not write."""
    for module in root.modules():
        if getattr(module, "track_running_stats", False) and hasattr(module, "num_batches_tracked"):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def __getattr__(name: str) -> Any:
    if name == "functional_call":
        return import_module("adjit.nn.utils.stateless").call_with
    if name == "jet":
        return import_module("adjit.func.taylor").jet
    raise AttributeError(f"module 'adjit.func' has no attribute {name!r}")
