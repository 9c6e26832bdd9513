"""A run of equal turns as a `scan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from adjit.compiler.pullback import zeros
from adjit.compiler.rolling.line import Line
from adjit.compiler.rolling.places import indices, listed
from adjit.compiler.rolling.turns import LITTLE, Carried, Picked, Pile, Result, Rows, Series, Table, Turns
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Node, Region, Value
from adjit.ir.ops.arrays import Array, cast, moved, permute, reshape, window_of
from adjit.ir.ops.control import scan
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.source import iota
from adjit.ir.ops.structure import concat
from adjit.ir.types import F64, I64, TensorType

Item = TypeVar("Item")
Resolve = Callable[[Value], Value]
# What a loop goes through row by row.
Stacked = Rows | Picked | Series | Table | Pile

# Results that fewer than one turn in so many is asked for are stacked while they are little.
_RARE = 4


class Scan:
    """The loop that stands for `turns`, and where the values are that others use.

    `used` are the results that others use, with the turns whose they are.
    """

    def __init__(self, line: Line, turns: Turns, used: Mapping[Result, set[int]]) -> None:
        self.line, self.turns = line, turns
        run = turns.run
        self.lags: dict[Result, int] = {}
        for source in turns.sources.values():
            if isinstance(source, Carried):
                self.lags[source.result] = max(source.lag, self.lags.get(source.result, 0))
        self.stacked: list[Result] = []
        for result, wanted in used.items():
            if wanted == {run.turns - 1}:
                self.lags.setdefault(result, 1)
            elif not all(run.turns - self.lags.get(result, 0) <= turn for turn in wanted):
                self.stacked.append(result)
        advances = [rows.advance for rows in turns.rows.values() if isinstance(rows, Rows)]
        self.reverse = bool(advances) and all(advance < 0 for advance in advances)
        self._last: dict[Carried, Value] = {}
        self._rows: dict[Result, Value] = {}
        self._taken: dict[Value, tuple[Node, Node]] = {}  # of each stack, a slice and the row that it is

    def wastes(self, used: Mapping[Result, set[int]]) -> bool:
        """Whether much would be stacked for the sake of few turns."""
        turns = self.turns.run.turns
        rare = [self._type(result).size for result in self.stacked if _RARE * len(used[result]) < turns]
        return any(not isinstance(size, int) or size * turns > LITTLE for size in rare)

    def starts(self) -> dict[Carried, Value] | None:
        """The first values of the carries that turns read; None where two operands disagree."""
        run, found = self.turns.run, dict[Carried, Value]()
        for operand, source in self.turns.sources.items():
            if isinstance(source, Carried):
                values = self.line.values(run.period, source.lag, operand)
                for turn, value in enumerate(values):
                    if found.setdefault(Carried(source.result, source.lag - turn), value) is not value:
                        return None
        return found

    def emit(self, builder: Builder, starts: Mapping[Carried, Value], resolve: Resolve) -> dict[object, Value]:
        """Append the loop to the region of `builder`, and return the values of its body by what they stand for.

        `resolve` says what a value from outside has become there.
        """
        turns, line = self.turns, self.line
        run = turns.run
        template = line.nodes[run.start : run.start + run.period]
        # The sources of rows are read through their rows alone.
        read = (s for o, s in turns.sources.items() if int(line.owner[o]) - run.start not in turns.rows)
        invariants = list(dict.fromkeys(s for s in read if isinstance(s, Value) and s.constant is None))
        carries = [Carried(result, lag) for result, most in self.lags.items() for lag in range(1, most + 1)]
        listed = (source for source in turns.sources.values() if isinstance(source, Series | Table | Pile))
        series: list[Stacked] = list(dict.fromkeys([*turns.rows.values(), *listed]))
        builder.location = template[0].location.made("roll", f"{run.turns} turns")
        xs = [self._stack(builder, each, resolve) for each in series]
        first = [resolve(starts[c]) if c in starts else zeros(builder, self._type(c.result)).value for c in carries]
        body, new = self._body(template, invariants, carries, series, [x.type.with_dims(x.shape[1:]) for x in xs])
        older = (new[Carried(c.result, c.lag - 1)] if c.lag > 1 else new[c.result] for c in carries)
        body.outputs = (*older, *(new[result] for result in self.stacked))
        node = builder.emit(
            scan,
            [*map(resolve, invariants), *first, *(x.value for x in xs)],
            {"invariants": len(invariants), "carries": len(carries), "length": run.turns, "reverse": self.reverse},
            [body],
        )
        self._last = dict(zip(carries, node.outputs, strict=False))
        self._rows = dict(zip(self.stacked, node.outputs[len(carries) :], strict=True))
        return new

    def value(self, builder: Builder, result: Result, turn: int) -> Value:
        """What a result of one turn is after the loop."""
        run = self.turns.run
        if result not in self._rows:
            return self._last[Carried(result, run.turns - turn)]
        place = run.turns - 1 - turn if self.reverse else turn
        return self._row(builder, self._rows[result], place)

    def _row(self, builder: Builder, stack: Value, place: int) -> Value:
        """stack[place]: of nodes like those of the row that was taken first, whose types are known."""
        alike = self._taken.get(stack)
        start = (place, *[0] * (stack.type.ndim - 1))
        if alike is None:
            row = window_of(builder.expr(stack), start, (1, *stack.dims[1:]))
            found: Expr = reshape(row, stack.dims[1:])
            assert row.value.node is not None and found.value.node is not None
            self._taken[stack] = row.value.node, found.value.node
            return found.value
        value = stack
        for node, change in zip(alike, ({"start": start}, {}), strict=True):
            types = [each.type for each in node.outputs]
            value = builder.emit(node.op, [value], {**node.attributes, **change}, types=types).output
        return value

    def _body(
        self, template: Sequence[Node], invariants: Sequence[Value], carries: Sequence[Carried],
        series: Sequence[Stacked], types: Sequence[TensorType],
    ) -> tuple[Region, dict[object, Value]]:  # fmt: skip
        """The region of one turn, without outputs, and its values by what they stand for."""
        run, line = self.turns.run, self.line
        body = Region()
        inner = Builder(body)
        new: dict[object, Value] = {value: inner.input(value.type, value.name) for value in invariants}
        for carried in carries:
            new[carried] = inner.input(self._type(carried.result))
        for each, type in zip(series, types, strict=True):
            new[each] = inner.input(type)
        for number, node in enumerate(template):
            inner.location = node.location
            rows = self.turns.rows.get(number)
            if rows is not None:
                new[Result(number, 0)] = new[rows]
                continue
            operands = [self._operand(inner, new, self.turns.sources[o]) for o in line.operands(run.start + number)]
            made = inner.emit(node.op, operands, node.attributes, node.regions, [v.type for v in node.outputs])
            for place, value in enumerate(made.outputs):
                new[Result(number, place)] = value
        return body, new

    def _type(self, result: Result) -> TensorType:
        return self.line.nodes[self.turns.run.start + result.node].outputs[result.place].type

    @staticmethod
    def _operand(inner: Builder, new: Mapping[object, Value], source: object) -> Value:
        if isinstance(source, Value) and source.constant is not None:
            return inner.constant(source.constant, source.dtype)
        return new[source]

    def _stack(self, builder: Builder, series: Stacked, resolve: Resolve) -> Expr:
        """What all turns read of a series, along a new first axis, in the order of the loop's places."""
        match series:
            case Rows():
                return self._rows_of(builder.expr(resolve(series.source)), series)
            case Picked():
                return self._picked(builder, builder.expr(resolve(series.source)), series)
            case Pile():
                values = builder.exprs(map(resolve, self._in_order(series.values)))
                pile: Expr = concat(*(reshape(x, (1, *x.shape)) for x in values), axis=0)
                return pile
            case Table():
                return listed(builder, self._in_order(series.numbers), series.dtype)
            case Series():
                return self._numbers(builder, series)

    def _in_order(self, items: Sequence[Item]) -> Sequence[Item]:
        """What turns have, by the loop's places."""
        return items[::-1] if self.reverse else items

    def _rows_of(self, x: Expr, rows: Rows) -> Expr:
        turns = self.turns.run.turns
        start, size, step, axis = list(rows.start), list(rows.size), list(rows.step), rows.axis
        start[axis] = min(start[axis], start[axis] + (turns - 1) * rows.advance)
        if rows.size[axis] == 1:
            size[axis], step[axis] = turns, abs(rows.advance)
        else:
            size[axis] = turns * rows.size[axis]
        split = (*size[:axis], turns, rows.size[axis], *size[axis + 1 :])
        stack: Expr = moved(reshape(window_of(x, start, size, step), split), axis, 0)
        return stack if (rows.advance < 0) == self.reverse else _turned(stack)

    def _picked(self, builder: Builder, x: Expr, picked: Picked) -> Expr:
        """The slices by a gather: out[t, i...] = x[starts[t] + i * step]."""
        moving, size = picked.moving, picked.size
        rest = [axis for axis in range(x.ndim) if axis not in moving]
        start, extent = [picked.starts[0][axis] if axis in rest else 0 for axis in range(x.ndim)], list(x.shape)
        step = [picked.step[axis] if axis in rest else 1 for axis in range(x.ndim)]
        for axis in rest:
            extent[axis] = size[axis]
        starts = [tuple(start[axis] for axis in moving) for start in self._in_order(picked.starts)]
        where = indices(builder, starts, [size[axis] for axis in moving], [picked.step[axis] for axis in moving])
        rows = gather(window_of(x, start, extent, step), *where, axes=moving, certain=True)
        order = [*moving, *rest]
        found: Expr = permute(rows, (0, *(order.index(axis) + 1 for axis in range(x.ndim))))
        return found

    def _numbers(self, builder: Builder, series: Series) -> Expr:
        turns = self.turns.run.turns
        turn: Array = builder.apply(iota, (), {"shape": (turns,), "axis": 0, "dtype": I64})
        if self.reverse:
            turn = turns - 1 - turn
        found: Expr = cast(series.numbers(turn if series.dtype.is_integer else cast(turn, F64)), series.dtype)
        return found


def _turned(x: Array) -> Expr:
    """out[i, ...] = x[n - 1 - i, ...]."""
    rest = [0] * (x.ndim - 1)
    found: Expr = window_of(x, (x.shape[0] - 1, *rest), x.shape, (-1, *[1] * (x.ndim - 1)))
    return found
