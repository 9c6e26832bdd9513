"""Pulling cotangents back through `while`: the steps are counted, then pulled back from the last one down.

What enters a step is found again from a few states that are kept.  A block of steps is cut into segments, whose first
states a forward scan stacks; from the last one down, each segment is cut again, and one of a single step is pulled
back.  So each step runs once for the count, once for each level of cuts, and once to be pulled back, and memory does
not grow with the count.  Only from one block to the next it is advanced from the start.
Source: the levels are those of Griewank and Walther's multistage checkpointing, 2000, with equal cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.pullback import zeros
from adjit.compiler.pullback_region import added, dealt, filled, flowing, or_zeros, pull_back_region, run_again
from adjit.ir.analysis import invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import I64

# More levels mean longer blocks and longer programs, most of all in derivatives of higher order.
LEVELS = 3
# So many blocks may be advanced to before it pays to have another level.
_FEW_BLOCKS = 8
# Into how many segments a level cuts, by the bytes of a state: their states are in memory together, so there are fewer
# of large ones.  Blocks of 256**3 steps of a few numbers: 16 million steps are gone back through in linear time.
CUTS = ((1 << 6, 256), (1 << 9, 64), (1 << 18, 32))
FEWEST = 12


def while_cotangents(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> list[Expr | None]:
    """A loop over blocks of steps, the last one first, each advanced to from the start."""
    invariants = invariants_of(node)
    fixed, start = node.inputs[:invariants], node.inputs[invariants:]
    moving = flowing(node.regions[1], invariants, start, arriving)
    down = _Down(node, tuple(v in active for v in fixed), moving, _cuts(start))
    carried = [c.value for c in filled(builder, node.outputs, arriving, moving) if c is not None]
    sums = [zeros(builder, v.type).value for v, flag in zip(fixed, down.summed, strict=True) if flag]
    count = _count(builder, node)
    levels = _levels(node, down.cuts)
    block = down.cuts**levels
    blocks = (count + (block - 1)) / block

    def going(inner: Builder, seen: Sequence[Value]) -> list[Value]:
        return [(inner.expr(seen[-1]) > 0).value]

    def step(inner: Builder, seen: Sequence[Value]) -> list[Value]:
        outer, begin = seen[:invariants], seen[invariants : invariants + len(start)]
        total, *state, left = seen[invariants + len(start) :]
        before = inner.expr(left) - 1
        skipped = before * block
        entered = _advance(inner, node.regions[1], outer, begin, skipped, down.cuts**2)
        steps = primitive_named("minimum")(inner.expr(total) - skipped, block)
        return [*down.pulled(inner, levels, outer, entered, steps.value, state), before.value]

    outer = [*node.inputs, count.value]
    found = _loop(builder, outer, [*carried, *sums, blocks.value], going, step, _FEW_BLOCKS)
    results = builder.exprs(found[:-1])
    return [*dealt(results[len(carried) :], down.summed), *dealt(results[: len(carried)], moving)]


def _levels(node: Node, cuts: int) -> int:
    """How many levels go back through a loop: a loop of a pullback knows about how many steps it makes at most."""
    most = node.attributes.get("most")
    if most is None:
        return LEVELS
    return next((n for n in range(1, LEVELS) if _FEW_BLOCKS * cuts**n >= most), LEVELS)


def _cuts(carries: Sequence[Value]) -> int:
    """Into how many segments a block of steps is cut."""
    bytes = sum(v.type.size * v.dtype.storage.itemsize for v in carries if isinstance(v.type.size, int))
    return next((cuts for largest, cuts in CUTS if bytes <= largest), FEWEST)


@frozen
class _Down:
    """Going down a loop's steps.

    `summed` says of which invariants cotangents are summed, `moving` which carries have one.
    """

    loop: Node
    summed: Sequence[bool]
    moving: Sequence[bool]
    cuts: int

    def pulled(
        self,
        builder: Builder,
        level: int,
        fixed: Sequence[Value],
        entered: Sequence[Value],
        steps: Value,
        state: Sequence[Value],
    ) -> list[Value]:
        """`state`, the cotangents of the carries and the sums, pulled back through at most cuts^level steps."""
        if level == 0:
            return self.one(builder, fixed, entered, state)
        stride = self.cuts ** (level - 1)
        first, width = len(fixed), len(entered)

        def cut(inner: Builder, seen: Sequence[Value]) -> list[Value]:
            """The next segment's first state, and how many steps are left from there."""
            left, now = seen[first], seen[first + 1 :]
            further = (inner.expr(left) > stride).value

            def advance(then: Builder, given: Sequence[Value]) -> list[Value]:
                after = self.ahead(then, given[:first], given[first + 1 :], stride)
                return [(then.expr(given[first]) - stride).value, *after]

            def end(then: Builder, given: Sequence[Value]) -> list[Value]:
                return [then.constant(0, I64), *given[first + 1 :]]

            return [*_either(inner, further, seen, advance, end), left, *now]

        cutting = [*fixed, steps, *entered]
        stacks = _scanned(builder, first, 1 + width, self.cuts, cutting, cut)[1 + width :]

        def back(inner: Builder, seen: Sequence[Value]) -> list[Value]:
            """One segment; those beyond the end have no step left."""
            outer, held = seen[:first], seen[first : first + len(state)]
            left, *now = seen[first + len(state) :]

            def pull(then: Builder, given: Sequence[Value]) -> list[Value]:
                outer, held = given[:first], given[first : first + len(state)]
                left, *now = given[first + len(state) :]
                few = primitive_named("minimum")(then.expr(left), stride).value
                return self.pulled(then, level - 1, outer, now, few, held)

            some = (inner.expr(left) > 0).value
            given = [*outer, *held, left, *now]
            return _either(inner, some, given, pull, lambda then, given: list(given[first : first + len(state)]))

        operands = [*fixed, *state, *stacks]
        return list(_scanned(builder, first, len(state), self.cuts, operands, back, rows=len(stacks), reverse=True))

    def ahead(self, builder: Builder, fixed: Sequence[Value], now: Sequence[Value], steps: int) -> list[Value]:
        """The carries after so many steps."""
        body = self.loop.regions[1]
        if steps == 1:
            return list(run_again(builder, body, [*fixed, *now]))
        return _advance(builder, body, fixed, now, builder.expr(builder.constant(steps, I64)), steps)

    def one(
        self, builder: Builder, fixed: Sequence[Value], entered: Sequence[Value], state: Sequence[Value]
    ) -> list[Value]:
        """The cotangents and sums after one step is pulled back."""
        count = sum(self.moving)
        cotangents, totals = builder.exprs(state[:count]), builder.exprs(state[count:])
        found = pull_back_region(builder, self.loop.regions[1], [*fixed, *entered], dealt(cotangents, self.moving))
        back = or_zeros(builder, entered, found[len(fixed) :], self.moving)
        return [*back, *added(dealt(totals, self.summed), found[: len(fixed)])]


# -- loops in few lines -----------------------------------------------------------------------------------------------
Part = Callable[[Builder, Sequence[Value]], list[Value]]


def _region(builder: Builder, types: Sequence[Value], part: Part, *, rows: int = 0) -> Region:
    """A region on inputs like `types`, of which the last `rows` are given a row at a time."""
    region = Region()
    inner = Builder(region, builder.location)
    whole = len(types) - rows
    seen = [inner.input(v.type if i < whole else v.type.with_dims(v.dims[1:])) for i, v in enumerate(types)]
    region.outputs = tuple(part(inner, seen))
    return region


def _loop(
    builder: Builder,
    fixed: Sequence[Value],
    carries: Sequence[Value],
    going: Part,
    step: Part,
    most: int | None = None,
) -> tuple[Value, ...]:
    """A `while` over the carries, of about `most` steps at most."""
    operands = [*fixed, *carries]
    regions = [_region(builder, operands, part) for part in (going, step)]
    attributes = {"invariants": len(fixed)} | ({} if most is None else {"most": most})
    return builder.emit(primitive_named("while"), operands, attributes, regions).outputs


def _scanned(
    builder: Builder,
    invariants: int,
    carries: int,
    length: int,
    operands: Sequence[Value],
    step: Part,
    *,
    rows: int = 0,
    reverse: bool = False,
) -> tuple[Value, ...]:
    """A `scan` of which the last `rows` operands are sliced."""
    region = _region(builder, operands, step, rows=rows)
    attributes = {"invariants": invariants, "carries": carries, "length": length, "reverse": reverse}
    return builder.emit(primitive_named("scan"), operands, attributes, [region]).outputs


def _either(builder: Builder, flag: Value, operands: Sequence[Value], then: Part, other: Part) -> list[Value]:
    """A `cond`."""
    regions = [_region(builder, operands, part) for part in (then, other)]
    return list(builder.emit(primitive_named("cond"), [flag, *operands], {}, regions).outputs)


def _count(builder: Builder, node: Node) -> Expr:
    """The number of steps that the loop makes."""
    invariants = invariants_of(node)
    condition, body = node.regions

    def going(inner: Builder, seen: Sequence[Value]) -> list[Value]:
        return list(run_again(inner, condition, [*seen[:invariants], *seen[invariants + 1 :]]))

    def step(inner: Builder, seen: Sequence[Value]) -> list[Value]:
        after = run_again(inner, body, [*seen[:invariants], *seen[invariants + 1 :]])
        return [(inner.expr(seen[invariants]) + 1).value, *after]

    carries = [builder.constant(0, I64), *node.inputs[invariants:]]
    return builder.expr(_loop(builder, node.inputs[:invariants], carries, going, step)[0])


def _advance(
    builder: Builder, body: Region, fixed: Sequence[Value], start: Sequence[Value], steps: Expr, most: int
) -> list[Value]:
    """The carries after `steps` steps from `start`, about `most` at most."""
    first = len(fixed)

    def going(inner: Builder, seen: Sequence[Value]) -> list[Value]:
        return [(inner.expr(seen[first + 1]) < inner.expr(seen[first])).value]

    def step(inner: Builder, seen: Sequence[Value]) -> list[Value]:
        done = inner.expr(seen[first + 1]) + 1
        return [done.value, *run_again(inner, body, [*seen[:first], *seen[first + 2 :]])]

    carries = [builder.constant(0, I64), *start]
    return list(_loop(builder, [*fixed, steps.value], carries, going, step, most)[1:])
