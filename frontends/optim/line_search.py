"""The search for a step along a direction that satisfies the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from adjit.tensor import Tensor

# The loss and the flat gradient at a distance from the start.
Evaluate: TypeAlias = "Callable[[Any], tuple[float, Tensor]]"


class _Point:
    """A distance along the direction: the loss there, its gradient, and the slope along the direction."""

    __slots__ = ("distance", "gradient", "loss", "slope")

    def __init__(self, distance: Any, loss: float, gradient: Tensor, slope: Any) -> None:
        self.distance = distance
        self.loss = loss
        self.gradient = gradient
        self.slope = slope


def strong_wolfe(
    evaluate: Evaluate, distance: Any, direction: Tensor, loss: float, gradient: Tensor, slope: Any, *,
    decrease: float = 1e-4, curvature: float = 0.9, least_change: float = 1e-9, most: int = 25,
) -> tuple[float, Tensor, Any, int]:  # fmt: skip
    """The loss, gradient and distance found, and how often the loss was computed.

    At the distance t found, loss(t) <= loss + decrease*t*slope and |slope(t)| <= curvature*|slope|, unless `most`
    evaluations do not suffice.  Source: Nocedal and Wright, 2006, algorithms 3.5 and 3.6.
    """
    start = _Point(0, loss, gradient.clone(), slope)
    search = _Search(evaluate, direction, start, decrease, curvature)
    bracket = search.bracket(distance, most)
    search.narrow(bracket, least_change, most)
    best = min(bracket, key=lambda point: point.loss)
    return best.loss, best.gradient, best.distance, search.count


class _Search:
    def __init__(
        self, evaluate: Evaluate, direction: Tensor, start: _Point, decrease: float, curvature: float
    ) -> None:
        self.evaluate = evaluate
        self.direction = direction
        self.start = start
        self.decrease = decrease
        self.curvature = curvature
        self.count = 0
        self.rounds = 0
        self.done = False

    def at(self, distance: Any) -> _Point:
        loss, gradient = self.evaluate(distance)
        self.count += 1
        gradient = gradient.clone()
        return _Point(distance, loss, gradient, gradient.dot(self.direction))

    def falls_short(self, point: _Point) -> bool:
        """Whether the loss at a point is above the line that decreases enough."""
        return bool(point.loss > self.start.loss + self.decrease * point.distance * self.start.slope)

    def is_flat(self, point: _Point) -> bool:
        return bool(abs(point.slope) <= -self.curvature * self.start.slope)

    def bracket(self, distance: Any, most: int) -> list[_Point]:
        """Go outwards until a minimum lies between two points, or one point satisfies both conditions."""
        before, point = self.start, self.at(distance)
        while self.rounds < most:
            if self.falls_short(point) or (self.rounds > 1 and point.loss >= before.loss):
                return [before, point]
            if self.is_flat(point):
                self.done = True
                return [point]
            if point.slope >= 0:
                return [before, point]
            near = point.distance + 0.01 * (point.distance - before.distance)
            further = cubic_minimum(before, point, (near, point.distance * 10))
            before, point = point, self.at(further)
            self.rounds += 1
        return [self.start, point]

    def narrow(self, bracket: list[_Point], least_change: float, most: int) -> None:
        """Shrink the bracket around a point that satisfies both conditions."""
        if len(bracket) == 1:
            return
        length = self.direction.abs().max()
        low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        stuck = False
        while not self.done and self.rounds < most:
            if abs(bracket[1].distance - bracket[0].distance) * length < least_change:
                return
            distance, stuck = _inside(bracket, stuck)
            point = self.at(distance)
            self.rounds += 1
            if self.falls_short(point) or point.loss >= bracket[low].loss:
                bracket[high] = point
                low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
                continue
            if self.is_flat(point):
                self.done = True
            elif point.slope * (bracket[high].distance - bracket[low].distance) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = point


def _inside(bracket: list[_Point], stuck: bool) -> tuple[Any, bool]:
    """The next distance in a bracket, away from its ends once the search came close to one; whether it did."""
    distance = cubic_minimum(bracket[0], bracket[1])
    lower, upper = sorted(point.distance for point in bracket)
    margin = 0.1 * (upper - lower)
    if min(upper - distance, distance - lower) >= margin:
        return distance, False
    if not stuck and lower < distance < upper:
        return distance, True
    return (upper - margin if abs(distance - upper) < abs(distance - lower) else lower + margin), False


def cubic_minimum(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is least, within `bounds` (or between the points).

    Source: Nocedal and Wright, 2006, equation 3.59.
    """
    lower, upper = bounds or ((a.distance, b.distance) if a.distance <= b.distance else (b.distance, a.distance))
    first = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.distance - b.distance)
    square = first**2 - a.slope * b.slope
    if not square >= 0:
        return (lower + upper) / 2.0
    second = square.sqrt()
    if a.distance <= b.distance:
        share = (b.slope + second - first) / (b.slope - a.slope + 2 * second)
        found = b.distance - (b.distance - a.distance) * share
    else:
        share = (a.slope + second - first) / (a.slope - b.slope + 2 * second)
        found = a.distance - (a.distance - b.distance) * share
    return min(max(found, lower), upper)
