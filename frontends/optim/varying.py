"""Settings beside the learning rate that change from step to step, as schedules of momentum and weight decay do.

The first trace relies on what it finds; one that finds another number reads it at every call from then on.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from adjit.state import STATE
from adjit.tensor import Tensor


class Varying:
    """The values of one optimizer's settings that its traces have seen."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[int, str], set[Any]] = defaultdict(set)
        self._pairs: dict[tuple[int, str], _Pair] = {}

    def factor(self, group: dict[str, Any], name: str) -> Any:
        """A number by which a running trace multiplies: 0, one that it relies on, or one read at every call."""
        tracer = STATE.tracer
        assert tracer is not None
        value = group[name]
        if isinstance(value, Tensor) or value == 0 or not self._has_varied(group, name, (value,)):
            return tracer.guard_value(group, name)
        tracer.checks.append(lambda: bool(group[name] != 0))
        return tracer.dynamic_scalar(group, name)

    def factors(self, group: dict[str, Any], name: str) -> tuple[Any, Any]:
        """The same for a pair of numbers, whatever they are."""
        tracer = STATE.tracer
        assert tracer is not None
        if any(isinstance(part, Tensor) for part in group[name]) or not self._has_varied(group, name, group[name]):
            return tracer.guard_value(group, name)  # type: ignore[no-any-return]
        pair = self._pairs.setdefault((id(group), name), _Pair(group, name))
        return tracer.dynamic_scalar(pair, f"{name}_1"), tracer.dynamic_scalar(pair, f"{name}_2")

    def _has_varied(self, group: dict[str, Any], name: str, values: tuple[Any, ...]) -> bool:
        """Whether traces found several values of a setting, all of them floats."""
        seen = self._seen[id(group), name]
        seen.add(tuple(values))
        return len(seen) > 1 and all(isinstance(part, float) for item in seen for part in item)


class _Pair:
    """Two numbers under one key of a group, by the names `key_1` and `key_2`."""

    def __init__(self, group: dict[str, Any], key: str) -> None:
        self._group = group
        self._key = key

    def __getitem__(self, name: str) -> float:
        found: float = self._group[self._key][name.endswith("_2")]
        return found


def decayed(param: Tensor, gradient: Tensor, weight_decay: Any, shrinking: Any = None) -> Tensor:
    """gradient + weight_decay*param; with `shrinking`, a rate, the gradient, and param is multiplied by
    1 - shrinking*weight_decay."""
    if is_zero(weight_decay):
        return gradient
    if shrinking is None:
        found: Tensor = gradient.add(param, alpha=weight_decay)
        return found
    param.mul_(1 - shrinking * weight_decay)
    return gradient


def is_zero(factor: Any) -> bool:
    """Whether a factor is 0; one that is read at every call is none."""
    return not (isinstance(factor, Tensor) and STATE.tracer is not None) and bool(factor == 0)
