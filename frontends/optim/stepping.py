"""What surrounds an optimizer's step: hooks, and what a trace of a step must know."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from adjit.ir.errors import TraceError
from adjit.state import STATE, user_location
from adjit.tensor import Tensor
from adjit.utils.hooks import Hooks, RemovableHandle

if TYPE_CHECKING:
    from adjit.optim.optimizer import Optimizer

_BEFORE, _AFTER = Hooks(), Hooks()  # of all optimizers


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return RemovableHandle(_BEFORE, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return RemovableHandle(_AFTER, hook)


def hooked(step: Callable[..., Any], *, own: bool) -> Callable[..., Any]:
    """`step` with the hooks around it; `own` for adjit's optimizers, which know how to be traced."""

    @wraps(step)
    def stepped(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if getattr(type(self), "step", None) is not stepped:  # called by a subclass, which has the hooks
            return step(self, *args, **kwargs)
        given: tuple[Any, ...] = args
        for hook in (*_BEFORE.values(), *self._hooks["step_pre"].values()):
            changed = hook(self, given, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                given, kwargs = changed
        result = step(self, *given, **kwargs) if own else _traceable(self, step, given, kwargs)
        self._stepped = True
        self._stepped_at = user_location()
        for hook in (*self._hooks["step_post"].values(), *_AFTER.values()):
            hook(self, given, kwargs)
        return result

    return stepped


def _traceable(optimizer: Optimizer, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A step that a user wrote: a trace relies on the numbers in its groups, and on state that stays."""
    tracer = STATE.tracer
    if tracer is None:
        return step(optimizer, *args, **kwargs)
    before = _settings(optimizer)
    optimizer._check_traceable()
    result = step(optimizer, *args, **kwargs)
    tracer.checks.append(lambda: _settings(optimizer) == before)
    traced = [
        (param, name)
        for param, values in optimizer.state.items()
        for name, value in (values.items() if isinstance(values, dict) else ())
        if isinstance(value, Tensor) and value._tracer is not None
    ]
    if traced:
        for param, name in traced:
            del optimizer.state[param][name]
        raise TraceError(
            f"{type(optimizer).__name__}.step put a traced tensor into its state as {traced[0][1]!r}\n"
            "  hint: take the first step outside of the compiled function, and write to the state in place "
            "(state[name].copy_(...))"
        )
    return result


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    simple = (bool, int, float, str, tuple, type(None))
    return [{key: value for key, value in g.items() if isinstance(value, simple)} for g in optimizer.param_groups]
