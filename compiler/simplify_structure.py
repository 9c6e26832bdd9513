"""The identities of `simplify` on ops that move elements, reduce and contract; see `simplify_rules`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adjit.compiler.simplify_rules import Site, is_number, made_by, rounding, rule, spread_scalar
from adjit.ir.graph import Value
from adjit.ir.ops.contraction import free_axes
from adjit.ir.ops.structure import matching_groups
from adjit.ir.shape import Size, product

# The longest chains of arithmetic that are made again on other views.
_CHAIN = 3


# -- structure ---------------------------------------------------------------------------------------------------------
@rule("reshape", "permute", "expand", "slice", "pad", "window", "fold", "concat")
def moves_nothing(site: Site) -> Value | None:
    """A structure op that leaves every element in its place."""
    x = site.inputs[0]
    a: Mapping[str, Any] = site.attributes
    match site.op.name:
        case "reshape" | "expand":
            nothing = x.dims == site.types[0].dims
        case "permute":
            nothing = list(a["perm"]) == list(range(x.type.ndim))
        case "slice":
            nothing = x.dims == a["size"] and all(s == 0 for s in a["start"]) and all(s == 1 for s in a["step"])
        case "pad":
            nothing = all(size == 0 for name in ("low", "high", "interior") for size in a[name])
        case "concat":
            nothing = len(site.inputs) == 1
        case _:
            nothing = not a["axes"]
    return x if nothing else None


@rule("reshape", "permute", "slice", "window")
def of_constant(site: Site) -> Value | None:
    """A view of a rank-0 value spread out is that value spread out."""
    scalar = spread_scalar(site.inputs[0])
    return None if scalar is None else site.full(scalar)


@rule("reshape")
def reshape_twice(site: Site) -> Value | None:
    """The second shape counts."""
    node = made_by(site.inputs[0], "reshape")
    return None if node is None else site.make("reshape", node.inputs[0], shape=site.types[0].dims)


@rule("permute")
def permute_twice(site: Site) -> Value | None:
    """One permutation, composed."""
    node = made_by(site.inputs[0], "permute")
    perm: tuple[int, ...] = site.attributes["perm"]  # type: ignore[assignment]
    if node is None:
        return None
    first: tuple[int, ...] = node.attributes["perm"]  # type: ignore[assignment]
    return site.make("permute", node.inputs[0], perm=tuple(first[axis] for axis in perm))


@rule("permute")
def permute_of_ones(site: Site) -> Value | None:
    """Where only axes of extent 1 move, a reshape."""
    (x,) = site.inputs
    perm: tuple[int, ...] = site.attributes["perm"]  # type: ignore[assignment]
    moving = [axis for axis in perm if x.dims[axis] != 1]
    return site.make("reshape", x, shape=site.types[0].dims) if moving == sorted(moving) else None


@rule("permute")
def permute_of_merged_axes(site: Site) -> Value | None:
    """Axes that a reshape has merged move together: one permutation before the reshape."""
    shaped = made_by(site.inputs[0], "reshape")
    node = None if shaped is None else made_by(shaped.inputs[0], "permute")
    groups = None if node is None else _merged(node.output.dims, site.inputs[0].dims)
    if node is None or groups is None:
        return None
    first: tuple[int, ...] = node.attributes["perm"]  # type: ignore[assignment]
    second: tuple[int, ...] = site.attributes["perm"]  # type: ignore[assignment]
    moved = site.make("permute", node.inputs[0], perm=tuple(first[axis] for place in second for axis in groups[place]))
    return site.make("reshape", moved, shape=site.types[0].dims)


@rule("permute")
def permute_of_spread_factors(site: Site) -> Value | None:
    """A product of spread operands in another order is that of their permutations: they are small, it is not."""
    node = made_by(site.inputs[0], "mul")
    factors = [made_by(value, "expand") for value in (() if node is None else node.inputs)]
    dims, perm = site.types[0].dims, site.attributes["perm"]
    turned: list[Value] = []
    for factor in factors:
        if factor is None:
            return None
        source = factor.inputs[0]
        whole = site.make("reshape", source, shape=(*(1,) * (len(dims) - source.type.ndim), *source.dims))
        turned.append(site.make("expand", site.make("permute", whole, perm=perm), shape=dims))
    return site.make("mul", *turned) if turned else None


def _merged(inner: tuple[Size, ...], outer: tuple[Size, ...]) -> list[list[int]] | None:
    """The neighbouring axes of `inner` that each axis of `outer` is made of, if it is."""
    groups: list[list[int]] = []
    place = 0
    for dim in outer:
        group: list[int] = []
        while product(inner[axis] for axis in group) != dim and place < len(inner):
            group.append(place)
            place += 1
        if product(inner[axis] for axis in group) != dim:
            return None
        groups.append(group)
    if groups:
        groups[-1] += range(place, len(inner))
    return groups if product(inner[place:]) == 1 else None


@rule("expand")
def expand_twice(site: Site) -> Value | None:
    """The second shape counts; and a reshape that only puts ones in front does nothing for an expand."""
    (x,) = site.inputs
    node = made_by(x, "expand") or made_by(x, "reshape")
    if node is None:
        return None
    source = node.inputs[0]
    if node.op.name == "reshape":
        new = x.type.ndim - source.type.ndim
        if new < 0 or x.dims != (1,) * new + source.dims:
            return None
    return site.make("expand", source, shape=site.types[0].dims)


@rule("slice")
def slice_twice(site: Site) -> Value | None:
    """out[i] = x[a + (b + i*t)*s]."""
    node = made_by(site.inputs[0], "slice")
    if node is None:
        return None
    inner: Mapping[str, Any] = node.attributes
    outer: Mapping[str, Any] = site.attributes
    parts = list(zip(inner["start"], inner["step"], outer["start"], outer["step"], strict=True))
    start, step = tuple(a + b * s for a, s, b, _ in parts), tuple(s * t for _, s, _, t in parts)
    return site.make("slice", node.inputs[0], start=start, size=outer["size"], step=step)


@rule("concat")
def concat_of_neighbours(site: Site) -> Value | None:
    """Neighbouring slices of one array are one slice of it, and a concat of concats is one."""
    from adjit.compiler.simplify_slab import Slab, slab_of

    axis: int = site.attributes["axis"]  # type: ignore[assignment]
    parts: list[Value] = []
    for x in site.inputs:
        inner = made_by(x, "concat")
        parts += inner.inputs if inner is not None and inner.attributes["axis"] == axis else (x,)
    joined: list[Value | Slab] = []
    for part in parts:
        slab, last = slab_of(part, axis), joined[-1] if joined else None
        both = last.joined(slab) if slab is not None and isinstance(last, Slab) else None
        if both is not None:
            joined[-1] = both
        else:
            joined.append(slab or part)
    if len(joined) >= len(site.inputs):
        return None
    found = [each if isinstance(each, Value) else each.value(site, axis) for each in joined]
    return found[0] if len(found) == 1 else site.make("concat", *found, axis=axis)


@rule("pad")
def pad_twice(site: Site) -> Value | None:
    """Two borders of the same value are one."""
    node = made_by(site.inputs[0], "pad")
    inner: Mapping[str, Any] = {} if node is None else node.attributes
    outer: Mapping[str, Any] = site.attributes
    if node is None or repr(inner["value"]) != repr(outer["value"]) or any((*inner["interior"], *outer["interior"])):
        return None
    low, high = (tuple(a + b for a, b in zip(inner[s], outer[s], strict=True)) for s in ("low", "high"))
    return site.make("pad", node.inputs[0], low=low, high=high, interior=outer["interior"], value=outer["value"])


@rule("pad")
def pad_of_permuted(site: Site) -> Value | None:
    """A permuted array with a border is the permuted array with it, so that an image and its transpose share one.

    Where the last axis has a border, and the last one in memory has none, it becomes that: windows lie along it.
    """
    node = made_by(site.inputs[0], "permute")
    if node is None:
        return None
    perm: tuple[int, ...] = node.attributes["perm"]  # type: ignore[assignment]
    a: Mapping[str, Any] = site.attributes
    axes = range(len(perm))
    bordered = [axis for axis in axes if any(a[name][axis] != 0 for name in ("low", "high", "interior"))]
    order = tuple(axes)
    if axes[-1] in bordered and perm.index(axes[-1]) not in bordered:
        order = (*sorted(perm[axis] for axis in axes if axis not in bordered), *(perm[axis] for axis in bordered))
    if order == perm:
        return None
    place = [perm.index(axis) for axis in order]
    sides = {name: tuple(a[name][at] for at in place) for name in ("low", "high", "interior")}
    source = node.inputs[0] if order == tuple(axes) else site.make("permute", node.inputs[0], perm=order)
    wide = site.make("pad", source, **sides, value=a["value"])
    return site.make("permute", wide, perm=tuple(order.index(axis) for axis in perm))


@rule("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all")
def reduce_nothing(site: Site) -> Value | None:
    """A reduction over no axes; a sum starts from 0 even so."""
    (x,) = site.inputs
    if site.attributes["axes"]:
        return None
    return site.make("add", x, 0.0) if site.op.name == "reduce_sum" and x.dtype.is_continuous else x


@rounding("reduce_sum")
def whole_sum_of_permuted(site: Site) -> Value | None:
    """The sum of all elements of arithmetic on arrays permuted alike is that on the arrays as they stand in memory."""
    (x,) = site.inputs
    if len(site.attributes["axes"]) != x.type.ndim:  # type: ignore[arg-type]
        return None
    views: dict[Value, Value] = {}
    if not _gather_views(x, views, _CHAIN) or not views:
        return None
    first, *others = [value.node for value in views]
    assert first is not None
    alike = (first.op, first.attributes, first.inputs[0].dims)
    if any(node is None or (node.op, node.attributes, node.inputs[0].dims) != alike for node in others):
        return None
    found = _without_views(site, x, views)
    return site.make("reduce_sum", found, axes=tuple(range(found.type.ndim)))


def _gather_views(value: Value, views: dict[Value, Value], left: int) -> bool:
    """Whether a value is arithmetic, `left` ops deep at most, on numbers and permuted views, which are noted."""
    node = value.node
    if value.type.ndim == 0 or value in views:
        return True
    if node is None or left == 0:
        return False
    if node.op.family == "scalar":
        return all(_gather_views(operand, views, left - 1) for operand in node.inputs)
    permuted = made_by(node.inputs[0], "permute") if node.op.name == "reshape" else None
    if node.op.name == "permute" or permuted is not None:
        views[value] = node.inputs[0]
        return True
    return False


def _without_views(site: Site, value: Value, views: Mapping[Value, Value]) -> Value:
    if value in views or value.type.ndim == 0:
        return views.get(value, value)
    node = value.node
    assert node is not None
    operands = [_without_views(site, operand, views) for operand in node.inputs]
    return site.make(node.op.name, *operands, **node.attributes)


@rule("reduce_sum")
def sum_of_the_extreme(site: Site) -> Value | None:
    """The sum of x at the position of its greatest element and 0 elsewhere is that element, a zero being +0."""
    chosen = made_by(site.inputs[0], "where")
    axes: Any = site.attributes["axes"]
    if chosen is None or len(axes) != 1 or not is_number(chosen.inputs[2], 0.0):
        return None
    same, x = made_by(chosen.inputs[0], "eq"), chosen.inputs[1]
    for counted, spread in (same.inputs, same.inputs[::-1]) if same is not None else ():
        iota, position = made_by(counted, "iota"), _kept_axis(spread, axes[0])
        if iota is None or iota.attributes["axis"] != axes[0] or position is None or position.node is None:
            continue
        name = {"argmax": "reduce_max", "argmin": "reduce_min"}.get(position.node.op.name)
        if name is None or position.node.attributes["axis"] != axes[0] or position.node.inputs[0] is not x:
            continue
        extreme = site.make(name, x, axes=axes)
        return site.make("add", extreme, 0.0) if x.dtype.is_float else extreme
    return None


@rounding("gather")
def element_at_the_extreme(site: Site) -> Value | None:
    """The element of x at the position of its greatest is that; which of several zeros it is may differ in sign."""
    x, *indices = site.inputs
    (dims,) = {index.dims for index in indices}
    positions = [made_by(index, "reshape") for index in indices]
    (axis,) = found if len(found := [k for k, node in enumerate(positions) if node is not None]) == 1 else (-1,)
    if axis < 0 or site.attributes["axes"] != tuple(range(x.type.ndim)):
        return None
    node = positions[axis].inputs[0].node  # type: ignore[union-attr]
    name = {"argmax": "reduce_max", "argmin": "reduce_min"}.get("" if node is None else node.op.name)
    if name is None or node is None or node.inputs[0] is not x or node.attributes["axis"] != axis:
        return None
    others = [made_by(index, "iota") for k, index in enumerate(indices) if k != axis]
    is_own = dims == (*x.dims[:axis], 1, *x.dims[axis + 1 :]) and all(
        other is not None and other.attributes["axis"] == k
        for other, k in zip(others, (k for k in range(x.type.ndim) if k != axis), strict=True)
    )
    return site.make("reshape", site.make(name, x, axes=(axis,)), shape=dims) if is_own else None


def _kept_axis(value: Value, axis: int) -> Value | None:
    """The value that `value` repeats along `axis` alone."""
    spread = made_by(value, "expand")
    kept = made_by(spread.inputs[0], "reshape") if spread is not None else None
    if spread is None or kept is None:
        return None
    dims, source = spread.output.dims, kept.inputs[0]
    is_kept = kept.output.dims == (*dims[:axis], 1, *dims[axis + 1 :])
    return source if is_kept and source.dims == (*dims[:axis], *dims[axis + 1 :]) else None


# -- contraction -------------------------------------------------------------------------------------------------------
@rule("dot")
def dot_of_permuted(site: Site) -> Value | None:
    """A dot names its axes, so it reads through a permutation that keeps the order of the free ones, a cast as well."""
    contract: Any = site.attributes["contract"]
    batch: Any = site.attributes["batch"]
    inputs, changed = list(site.inputs), False
    pairs = [list(contract), list(batch)]
    for side, value in enumerate(site.inputs):
        converted = made_by(value, "cast")
        node = made_by(value if converted is None else converted.inputs[0], "permute")
        if node is None:
            continue
        perm: Any = node.attributes["perm"]
        free = [perm[axis] for axis in range(len(perm)) if axis not in (*contract[side], *batch[side])]
        if free == sorted(free):
            source = node.inputs[0]
            inputs[side] = source if converted is None else site.make("cast", source, dtype=value.dtype)
            changed = True
            for pair in pairs:
                pair[side] = tuple(perm[axis] for axis in pair[side])
    if not changed:
        return None
    return site.make("dot", *inputs, contract=tuple(pairs[0]), batch=tuple(pairs[1]))


@rounding("dot")
def dot_of_single_products(site: Site) -> Value | None:
    """A dot that sums nothing is a product of spread operands, which joins what stands around it.

    A sum that begins at 0 has no -0.0.
    """
    contract: Any = site.attributes["contract"]
    batch: Any = site.attributes["batch"]
    dims, dtype = site.types[0].dims, site.types[0].dtype
    if dtype.is_complex or any(site.inputs[0].dims[axis] != 1 for axis in contract[0]):
        return None
    count, spread = len(batch[0]), []
    place = count
    for side, value in enumerate(site.inputs):
        free = free_axes(value.type.ndim, contract[side], batch[side])
        turned = site.make("permute", value, perm=(*batch[side], *free, *contract[side]))
        kept = range(place, place + len(free))
        shape = tuple(dim if axis < count or axis in kept else 1 for axis, dim in enumerate(dims))
        spread.append(site.make("expand", site.make("reshape", turned, shape=shape), shape=dims))
        place += len(free)
    return site.make("mul", *spread)


@rule("reshape")
def reshape_of_dot(site: Site) -> Value | None:
    """A reshape that only splits axes of a dot is the dot of operands with split axes: views, where it is a copy."""
    node = made_by(site.inputs[0], "dot")
    if node is None or 0 in site.types[0].dims:
        return None
    shape, dims = site.types[0].dims, node.output.dims
    groups = list(matching_groups(shape, dims))
    if len(shape) <= len(dims) or any(len(theirs) != 1 for _, theirs in groups):
        return None
    parts = {theirs[0]: tuple(shape[axis] for axis in ours) for ours, theirs in groups}
    if sum(map(len, parts.values())) != len(shape) or len(parts) != len(dims):
        return None
    contract: Any = node.attributes["contract"]
    batch: Any = node.attributes["batch"]
    place = len(batch[0])
    operands: list[Value] = []
    contracts: list[tuple[int, ...]] = []
    batches: list[tuple[int, ...]] = []
    for side, value in enumerate(node.inputs):
        free = free_axes(value.type.ndim, contract[side], batch[side])
        split = {axis: parts[number] for number, axis in enumerate(batch[side])}
        split |= {axis: parts[place + number] for number, axis in enumerate(free)}
        place += len(free)
        sizes = [split.get(axis, (dim,)) for axis, dim in enumerate(value.dims)]
        starts = [sum(map(len, sizes[:axis])) for axis in range(len(sizes))]
        operands.append(site.make("reshape", value, shape=tuple(part for group in sizes for part in group)))
        contracts.append(tuple(starts[axis] for axis in contract[side]))
        batches.append(tuple(starts[axis] + number for axis in batch[side] for number in range(len(sizes[axis]))))
    return site.make("dot", *operands, contract=tuple(contracts), batch=tuple(batches))


# -- indexing ----------------------------------------------------------------------------------------------------------
@rule("gather", "scatter_add", "scatter_set", "scatter_max")
def no_places(site: Site) -> Value | None:
    """Nothing is read or written at no places, and no index is outside, even where the only one would be."""
    count = len(site.attributes["axes"])  # type: ignore[arg-type]
    if not any(value.type.size == 0 for value in site.inputs[-count:]):
        return None
    if site.op.name != "gather":
        return site.inputs[0]
    return site.number(False if site.types[0].dtype.kind == "bool" else 0)


@rule("scatter_add")
def one_update_each_row(site: Site) -> Value | None:
    """Row i of zeros gets its update at column j[i] alone: a choice by column, which other ops can be fused with."""
    x, updates, *places = site.inputs
    if site.attributes["axes"] != (0, 1) or x.type.ndim != 2 or updates.dims != x.dims[:1] or not is_number(x, 0.0):
        return None
    rows = made_by(places[0], "iota")
    if rows is None or rows.attributes["axis"] != 0 or places[0].dims != updates.dims or places[1].dims != updates.dims:
        return None
    width, dtype = x.dims[1], places[1].dtype
    # The column is looked up where it says itself, so that one outside still raises.
    columns = site.make("iota", shape=(width,), axis=0, dtype=dtype)
    column = site.make("gather", columns, places[1], axes=(0,))
    hit = site.make("eq", spread_columns(site, column, width), site.make("iota", shape=x.dims, axis=1, dtype=dtype))
    total = spread_columns(site, site.make("add", updates, 0), width)
    return site.make("where", hit, total, site.number(0))


def spread_columns(site: Site, x: Value, width: Size) -> Value:
    """x[i] at every [i, j]."""
    return site.make("expand", site.make("reshape", x, shape=(*x.dims, 1)), shape=(*x.dims, width))
