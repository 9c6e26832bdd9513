"""L-BFGS inside a compiled function: the iterations and the line search are loops of the program.

The functions marked `as_program` are plain Python on tensors; in a trace their `while` becomes one of the program.  All
numbers are 0-d tensors of float64 or int64.  The history has `history_size` rows from the start, of which the first
`kept` count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from adjit.capture.numbers import as_plain
from adjit.capture.source import as_program
from adjit.control import while_loop
from adjit.creation import tensor, zeros
from adjit.dtypes import public
from adjit.elementwise import maximum, minimum, where
from adjit.ir.types import F64, I64
from adjit.ranges import arange
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.optim.lbfgs import LBFGS

NUMBERS = ("n_iter", "func_evals", "kept", "t", "prev_loss", "H_diag")
ROWS = ("old_dirs", "old_stps", "ro")


# A distance along the direction: the loss there, its gradient, and the slope along the direction.
Point: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is minimised: the optimizer with its closure."""

    optimizer: LBFGS
    closure: Callable[[], Any]

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """The loss and the flat gradient where the parameters stand."""
        return _wide(*self.optimizer.evaluated(self.closure))

    def at(self, distance: Tensor, direction: Tensor) -> Point:
        """The point at a distance along a direction; the parameters stay."""
        loss, gradient = _wide(*self.optimizer.evaluation(self.closure, direction)(distance))
        return distance, loss, gradient, gradient.dot(direction).double()

    def move(self, distance: Tensor, direction: Tensor) -> None:
        """Move the parameters."""
        self.optimizer.move(distance, direction)


def _wide(loss: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return as_plain(loss, F64), gradient


# -- state ------------------------------------------------------------------------------------------------------------
def with_rows(state: dict[str, Any], like: Tensor, size: int, history_size: int) -> None:
    """Bring the state into tensors of fixed shapes.

    Shapes: old_dirs and old_stps [history_size, size], ro [history_size].
    """
    if isinstance(state.get("old_dirs"), Tensor):
        return
    known = {name: list(state.get(name, ())) for name in ROWS}
    state["kept"] = len(known["ro"])
    numbers = {name: state.get(name) for name in NUMBERS}
    state.pop("al", None)
    for name, value in numbers.items():
        default, kind = (0, I64) if name in NUMBERS[:3] else (1.0 if name == "H_diag" else 0.0, F64)
        state[name] = tensor(float(default if value is None else value), dtype=public(kind))
    for name in ("d", "prev_flat_grad"):
        state[name] = zeros(size, dtype=like.dtype) if state.get(name) is None else state[name].clone()
    for name, rows in known.items():
        shape = (history_size,) if name == "ro" else (history_size, size)
        made = state[name] = zeros(shape, dtype=like.dtype)
        for place, row in enumerate(rows):
            made[place] = row


def with_lists(state: dict[str, Any]) -> dict[str, Any]:
    """The state as an eager step keeps it."""
    if not isinstance(state.get("old_dirs"), Tensor):
        return state
    count = int(state["kept"])
    found: dict[str, Any] = {name: state[name].item() for name in ("func_evals", "n_iter")}
    if found["n_iter"] > 1:
        found["al"] = [None] * len(state["ro"])  # every direction fills it anew
    for name in ("d", "t", *ROWS, "H_diag", "prev_flat_grad", "prev_loss"):
        value = state[name]
        if name in ROWS:
            found[name] = [row.clone() for row in value[:count]]
        else:
            found[name] = value.item() if name in ("t", "prev_loss") else value.clone()
    found["H_diag"] = found["H_diag"].to(found["d"].dtype)
    return found


# -- the iterations ---------------------------------------------------------------------------------------------------
class Iterate(NamedTuple):
    """What one iteration hands to the next."""

    n_iter: Tensor
    kept: Tensor
    t: Tensor
    H_diag: Tensor
    prev_loss: Tensor
    d: Tensor
    prev_flat_grad: Tensor
    old_dirs: Tensor
    old_stps: Tensor
    ro: Tensor


@as_program
def minimize(
    problem: Problem, state: dict[str, Tensor], group: dict[str, Any], lr: Tensor, loss: Any, gradient: Tensor
) -> None:
    """Iterate until a tolerance or a limit is reached, from a loss and its gradient; `state` is written."""
    least_change = group["tolerance_change"]
    loss, gradient = _wide(loss, gradient)
    before = Iterate(*(state[name] * 1 for name in Iterate._fields))
    evaluations = before.n_iter * 0 + 1
    iteration = before.n_iter * 0
    going = (gradient.abs().max() <= group["tolerance_grad"]).logical_not()
    now, slope = prepared(before, loss, gradient, lr)
    now = picked(going, now, before)
    going = going & (slope > -least_change).logical_not()
    while going:
        iteration = iteration + 1
        if group["line_search_fn"] is not None:
            most = group["max_eval"] - evaluations
            found, used = search(problem, (now.t * 0, loss, gradient, slope), now.t, now.d, most)
            t, loss, gradient, _ = found
            now = now._replace(t=t)
            evaluations = evaluations + used
            problem.move(t, now.d)
        else:
            problem.move(now.t, now.d)
            if iteration != group["max_iter"]:
                loss, gradient = problem.evaluate()
                evaluations = evaluations + 1
        going = (
            (iteration < group["max_iter"])
            & (evaluations < group["max_eval"])
            & (gradient.abs().max() <= group["tolerance_grad"]).logical_not()
            & ((now.d * now.t).abs().max() <= least_change).logical_not()
            & ((loss - now.prev_loss).abs() < least_change).logical_not()
        )
        following, slope = prepared(now, loss, gradient, lr)
        now = picked(going, following, now)
        going = going & (slope > -least_change).logical_not()
    for name, value in zip(Iterate._fields, now, strict=True):
        state[name].copy_(value)
    state["func_evals"].add_(evaluations)


def prepared(past: Iterate, loss: Tensor, gradient: Tensor, lr: Tensor) -> tuple[Iterate, Tensor]:
    """The next direction and its first distance, and the slope along it."""
    first = past.n_iter == 0
    change, made = gradient - past.prev_flat_grad, past.d * past.t
    curvature = change.dot(made)
    joins = (curvature > 1e-10) & ~first
    rows = (past.old_dirs, change), (past.old_stps, made), (past.ro, 1.0 / curvature)
    dirs, stps, ro = (where(joins, _pushed(x, row, past.kept), x) for x, row in rows)
    count = past.kept + joins.long() * (past.kept < len(ro)).long()
    diagonal = where(joins, (curvature / change.dot(change)).double(), past.H_diag)
    d = _direction(gradient, dirs, stps, ro, count, diagonal)
    t = where(first, (1.0 / gradient.abs().sum().double()).clamp(max=1.0), 1.0) * lr
    following = Iterate(past.n_iter + 1, count, t, diagonal, loss, d, gradient, dirs, stps, ro)
    return following, gradient.dot(d).double()


def picked(flag: Tensor, one: Any, other: Any) -> Any:
    """One of two tuples of tensors."""
    return type(one)(*(where(flag, a, b) for a, b in zip(one, other, strict=True)))


def _pushed(rows: Tensor, row: Tensor, count: Tensor) -> Tensor:
    """The rows with one more after the `count` that count; without the oldest where all do."""
    most = len(rows)
    place = arange(most).reshape(most, *(1 for _ in rows.shape[1:]))
    full = count == most
    found: Tensor = where(place == count - full.long(), row, where(full, rows.roll(-1, 0), rows))
    return found


def _direction(
    gradient: Tensor, dirs: Tensor, stps: Tensor, ro: Tensor, count: Tensor, diagonal: Tensor
) -> Tensor:
    """Minus the inverse Hessian times the gradient, by the two loops over the history."""
    place = arange(len(ro))

    def back(index: Tensor, rest: Tensor, shares: Tensor) -> tuple[Tensor, ...]:
        share = stps[index].dot(rest) * ro[index]
        return index - 1, rest - dirs[index] * share, where(place == index, share, shares)

    def forth(index: Tensor, rest: Tensor) -> tuple[Tensor, ...]:
        return index + 1, rest + stps[index] * (shares[index] - dirs[index].dot(rest) * ro[index])

    _, rest, shares = while_loop(lambda index, *_: index >= 0, back, (count - 1, -gradient, ro * 0))
    _, rest = while_loop(lambda index, _: index < count, forth, (count * 0, rest * diagonal))
    found: Tensor = rest
    return found


# -- the line search --------------------------------------------------------------------------------------------------
_DECREASE, _CURVATURE, _LEAST = 1e-4, 0.9, 1e-9


@as_program
def search(problem: Problem, start: Point, distance: Tensor, d: Tensor, most: Tensor) -> tuple[Point, Tensor]:
    """The point that satisfies the strong Wolfe conditions, and how often the loss was computed.

    Source: Nocedal and Wright, 2006, algorithms 3.5 and 3.6.
    """
    before, point = start, problem.at(distance, d)
    evaluations, rounds = most * 0 + 1, most * 0
    done, found = _is_bracketed(start, before, point, rounds)
    while (rounds < most) & ~found:
        t = point[0]
        further = _cubic(before, point, t + 0.01 * (t - before[0]), t * 10)
        before, point = point, problem.at(further, d)
        evaluations, rounds = evaluations + 1, rounds + 1
        done, found = _is_bracketed(start, before, point, rounds)
    low = _chosen(found, before, start)
    low = _chosen(done, point, low)
    low, high = _sorted(low, point)
    length = d.abs().max().double()
    stuck = done & ~done
    while (rounds < most) & ~done & ((high[0] - low[0]).abs() * length >= _LEAST):
        t, stuck = _inside(low, high, stuck)
        point = problem.at(t, d)
        evaluations, rounds = evaluations + 1, rounds + 1
        worse = _falls_short(start, point) | (point[1] >= low[1])
        done = ~worse & _is_flat(start, point)
        turned = ~done & (point[3] * (high[0] - low[0]) >= 0)
        outer = _chosen(worse, point, _chosen(turned, low, high))
        low, high = _sorted(_chosen(worse, low, point), outer)
    return low, evaluations


def _chosen(flag: Tensor, one: Point, other: Point) -> Point:
    a, b, c, e = (where(flag, x, y) for x, y in zip(one, other, strict=True))
    return a, b, c, e


def _sorted(one: Point, other: Point) -> tuple[Point, Point]:
    """The lower of two points first."""
    flag = one[1] <= other[1]
    return _chosen(flag, one, other), _chosen(flag, other, one)


def _falls_short(start: Point, point: Point) -> Tensor:
    """Whether the loss at a point is above the line that decreases enough."""
    return point[1] > start[1] + _DECREASE * point[0] * start[3]


def _is_flat(start: Point, point: Point) -> Tensor:
    found: Tensor = point[3].abs() <= -_CURVATURE * start[3]
    return found


def _is_bracketed(start: Point, before: Point, point: Point, rounds: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a point satisfies both conditions, and whether the search outwards ends at it."""
    rises = _falls_short(start, point) | ((rounds > 1) & (point[1] >= before[1]))
    done = ~rises & _is_flat(start, point)
    return done, rises | done | (point[3] >= 0)


def _inside(low: Point, high: Point, stuck: Tensor) -> tuple[Tensor, Tensor]:
    """The next distance in a bracket, away from its ends once the search came close to one; whether it did."""
    lower, upper = minimum(low[0], high[0]), maximum(low[0], high[0])
    t = _cubic(low, high, lower, upper)
    margin = 0.1 * (upper - lower)
    close = minimum(upper - t, t - lower) < margin
    moved = close & (stuck | (t >= upper) | (t <= lower))
    away = where((t - upper).abs() < (t - lower).abs(), upper - margin, lower + margin)
    return where(moved, away, t), close & ~moved


def _cubic(a: Point, b: Point, lower: Tensor, upper: Tensor) -> Tensor:
    """Where the cubic through two points with their slopes is least, within bounds.

    Source: Nocedal and Wright, 2006, equation 3.59.
    """
    flag = a[0] <= b[0]
    (left, f_left, _, s_left), (right, f_right, _, s_right) = _chosen(flag, a, b), _chosen(flag, b, a)
    first = s_left + s_right - 3 * (f_left - f_right) / (left - right)
    square = first * first - s_left * s_right
    second = square.clamp(min=0).sqrt()
    found = right - (right - left) * ((s_right + second - first) / (s_right - s_left + 2 * second))
    inside = minimum(maximum(found, lower), upper)
    result: Tensor = where(square >= 0, inside, (lower + upper) / 2.0)
    return result
