"""Why a call needed a program of its own: the first difference from what there is, with the argument's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adjit.call import Facts, aliases_among
from adjit.ir.errors import ShapeError
from adjit.places import Place
from adjit.runtime.interpreter import bind_sizes
from adjit.tensor import Tensor
from adjit.views import is_contiguous

if TYPE_CHECKING:
    from adjit.call import Call, Key
    from adjit.entry import Entry

# What the fields of `Facts` are called.
_FACTS = ("dtype", "rank", "requires_grad", "being a leaf", "type of .grad", "hooks")


def reason_of(call: Call, names: Sequence[str], entries: Mapping[Any, Sequence[Entry]]) -> str:
    """Why none of the programs serves a call; `names` are those of all its arguments, tensors or not."""
    if not entries:
        return "first call"
    same = entries.get(call.key)
    if same:
        own = [name for name, leaf in zip(names, call.leaves, strict=True) if isinstance(leaf, Tensor)]
        own += [str(place) for place, item in call.lifted if isinstance(item, Tensor)]
        return misfit(same[0], call, own)
    return min((_differences(key, call.key, names, [place for place, _ in call.lifted]) for key in entries), key=len)[0]


def _differences(old: Key, new: Key, names: Sequence[str], places: Sequence[Place]) -> list[str]:
    """How two signatures differ."""
    if old.structure != new.structure:
        return [f"the arguments are {_nesting(new.structure)}, not {_nesting(old.structure)}"] * len(names or ("",))
    found = []
    for name, before, after in zip(names, old.arguments, new.arguments, strict=True):
        if isinstance(before, Facts) and isinstance(after, Facts):
            facts = zip(_FACTS, before, after, strict=True)
            found += [f"{fact} of {name}: {a} -> {b}" for fact, a, b in facts if a != b]
        elif isinstance(after, Facts) and before[0] in (int, float):
            found.append(f"{name} is read at each call from here on: it had another value")
        elif isinstance(before, Facts) or isinstance(after, Facts):
            found.append(f"{name} is a tensor in one call and not in the other")
        elif before != after:
            found.append(f"{name}: {_shown(before)} -> {_shown(after)}")
    if old.recording != new.recording:
        found.append(f"recording of gradients: {_switch(old.recording)} -> {_switch(new.recording)}")
    if old.repeats != new.repeats:
        found.append("other arguments are one tensor")
    if old.orders != new.orders:
        found.append("the order of keys in a dict")
    if (old.lifted, old.lifted_repeats) != (new.lifted, new.lifted_repeats):
        known = {item[0] for item in old.lifted or ()}
        lifted = ", ".join(str(place) for place in places if place.identity not in known)
        found.append(f"{lifted or 'a changing value'}: read at each call from here on, as it changes")
    return found or ["a part of the signature that has no name"]


def _nesting(structure: Any) -> str:
    """Positional and keyword arguments with a star for each leaf: `(*, *), {'flag': *}`."""
    return str(structure).removeprefix("PyTreeSpec((").partition(", NoneIsLeaf")[0].removesuffix(")")


def _shown(item: tuple[type, Any]) -> str:
    kind, value = item
    plain = kind in (bool, int, float, complex, str, bytes, type(None), tuple)
    return repr(value) if plain else f"another {kind.__name__}"


def _switch(on: bool) -> str:
    return "on" if on else "off"


def misfit(entry: Entry, call: Call, names: Sequence[str]) -> str:
    """The first condition of a program that a call of the same signature does not meet; `names` are its tensors'."""
    for value, source in zip(entry.graph.inputs, entry.sources, strict=True):
        if source.kind == "argument":
            shape = call.shapes[source.index]
            for axis, (dim, extent) in enumerate(zip(value.dims, shape, strict=True)):
                if isinstance(dim, int) and dim != extent:
                    return f"size of {names[source.index]}, axis {axis}: {dim} -> {extent}"
        elif source.kind == "tensor" and source.tensor is not None and source.tensor._memory is not source.memory:
            return f"the captured tensor {value.name} stands in other memory"
    if aliases_among(call, entry.changed) != entry.aliases:
        return "the arguments share memory in another way"
    for index, found in entry.layouts.items():
        if is_contiguous(call.tensors[index]) != found:
            return f"{names[index]} is {'not ' if found else ''}contiguous here"
    shapes = [
        call.shapes[source.index] if source.kind == "argument" else value.dims
        for value, source in zip(entry.graph.inputs, entry.sources, strict=True)
    ]
    if entry.graph.size_names:
        try:
            bind_sizes(entry.graph, shapes)  # type: ignore[arg-type]
        except ShapeError as error:
            return str(error).partition("\n")[0]
    changed = entry.environment.change()
    return changed or "a value that the trace read has changed"
