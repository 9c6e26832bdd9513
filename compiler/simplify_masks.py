"""The identities of `simplify` on masks of nested batches: `vmap` of `vmap` asks twice which elements go on."""

from __future__ import annotations

from adjit.compiler.simplify_rules import Site, made_by, rule
from adjit.ir.graph import Value


@rule("reduce_any", "reduce_all")
def truth_of_truths(site: Site) -> Value | None:
    """Whether any holds of those of which any holds: one question over all axes."""
    node = made_by(site.inputs[0], site.op.name)
    if node is None:
        return None
    inner, outer = _axes(node.attributes["axes"]), _axes(site.attributes["axes"])
    left = [axis for axis in range(node.inputs[0].type.ndim) if axis not in inner]
    axes = tuple(sorted((*inner, *(left[axis] for axis in outer))))
    return site.make(site.op.name, node.inputs[0], axes=axes)


@rule("where")
def choice_where_any_is_made(site: Site) -> Value | None:
    """where(any(m), where(m, x, y), y) is where(m, x, y)."""
    mask, chosen, other = site.inputs
    choice = made_by(chosen, "where")
    if choice is None or choice.inputs[2] is not other or choice.output.dims != site.types[0].dims:
        return None
    return chosen if _is_any(mask, choice.inputs[0]) else None


def _is_any(mask: Value, own: Value) -> bool:
    """Whether `mask` says of each element whether `own` holds anywhere along some axes."""
    spread = made_by(mask, "expand")
    shaped = None if spread is None else made_by(spread.inputs[0], "reshape")
    found = None if shaped is None else made_by(shaped.inputs[0], "reduce_any")
    if spread is None or shaped is None or found is None or found.inputs[0] is not own or mask.dims != own.dims:
        return False
    axes = _axes(found.attributes["axes"])
    return shaped.output.dims == tuple(1 if axis in axes else size for axis, size in enumerate(own.dims))


def _axes(attribute: object) -> tuple[int, ...]:
    assert isinstance(attribute, (tuple, list))
    return tuple(attribute)
