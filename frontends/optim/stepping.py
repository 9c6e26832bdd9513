"""What surrounds an optimizer's step: hooks, and what a trace of a step must know."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from adjit.state import STATE, user_location
from adjit.utils.hooks import Hooks, RemovableHandle

if TYPE_CHECKING:
    from adjit.optim.optimizer import Optimizer

_BEFORE, _AFTER = Hooks(), Hooks()  # of all optimizers


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer, which is the first of `args`."""
    return RemovableHandle(_BEFORE, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return RemovableHandle(_AFTER, hook)


def hooked(step: Callable[..., Any], *, own: bool) -> Callable[..., Any]:
    """`step` with the hooks around it; `own` for adjit's optimizers, which know how to be traced."""

    @wraps(step)
    def stepped(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        of_subclass = getattr(type(self), "step", None) is not stepped  # which has the hooks
        if of_subclass or "_hooks" not in vars(self):  # or of one around another, which never called `__init__`
            return step(self, *args, **kwargs)
        given: tuple[Any, ...] = (self, *args)
        for hook in (*_BEFORE.values(), *self._hooks["step_pre"].values()):
            changed = hook(self, given, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                given, kwargs = changed
        if not own and STATE.tracer is not None:
            self._check_traceable()
        result = step(*given, **kwargs)
        self._stepped = True
        self._stepped_at = user_location()
        for hook in (*self._hooks["step_post"].values(), *_AFTER.values()):
            hook(self, given, kwargs)
        return result

    return stepped
