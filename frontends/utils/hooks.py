"""Handles of registered hooks."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from copy import deepcopy
from itertools import count
from typing import Any
from weakref import ref

from adjit.epoch import EPOCH

_identity = count()


class RemovableHandle:
    """Returned by the `register_*` functions; `remove()` takes the hook away.  Also a context manager that removes."""

    __slots__ = ("__weakref__", "_hooks", "id")

    def __init__(self, hooks: MutableMapping[int, Callable[..., Any]], hook: Callable[..., Any] | None = None) -> None:
        self.id = next(number for number in _identity if number not in hooks)  # hooks may come from another process
        self._hooks = ref(hooks)
        if hook is not None:
            hooks[self.id] = hook
        EPOCH.advance()

    def remove(self) -> None:
        """Take the hook away; doing it twice is no error."""
        hooks = self._hooks()
        if hooks is not None and hooks.pop(self.id, None) is not None:
            EPOCH.advance()

    def __deepcopy__(self, memo: dict[int, Any]) -> RemovableHandle:
        """The handle of the copied hook: it refers to the copy of the hooks."""
        made = object.__new__(type(self))
        made.id = self.id
        hooks = self._hooks()
        copied = Hooks() if hooks is None else deepcopy(hooks, memo)
        memo[id(copied)] = copied  # kept alive until whoever owns the copy has it
        made._hooks = ref(copied)
        return made

    def __getstate__(self) -> tuple[Any, int]:
        return self._hooks(), self.id

    def __setstate__(self, state: tuple[Any, int]) -> None:
        hooks, self.id = state
        self._hooks = ref(Hooks() if hooks is None else hooks)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Hooks(dict[int, Callable[..., Any]]):
    """An ordered set of hooks that handles can refer to weakly."""

    __slots__ = ("__weakref__",)

    def registered(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Add a hook, as the first one if `prepend`."""
        others = list(self.items()) if prepend else []
        handle = RemovableHandle(self, hook)
        for key, other in others:
            del self[key]
            self[key] = other
        return handle

class Handles(RemovableHandle):
    """The handles of several hooks, removed together."""

    __slots__ = ("handles",)

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Take all hooks away."""
        for handle in self.handles:
            handle.remove()


class Prehook:
    """A hook of a node that is called before it is pulled back, with the gradients of its results alone."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients to go on with."""
        found = self.function(gradients)
        if found is None:
            return gradients
        found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if len(found) != len(gradients):
            raise RuntimeError(
                f"hook has returned an incorrect number of values (got {len(found)}, but expected {len(gradients)})"
            )
        return found
