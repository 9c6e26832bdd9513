"""`f.stages(*args)`: the text after each stage of the compiler, and what each stage did to every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from adjit.compiler.llvm.emit_choice import extents_of
from adjit.compiler.loops.ir import BLOCKS, CONTRACT, FOR, FUSE, KERNEL, MATRICES, REDUCE, SORT_ROWS, TRANSFORM, UPDATE
from adjit.inspection.snapshots import Kernels, Snapshot, snapshots
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.printer import format_node, value_names

# The most changes of a stage that the printed form shows.
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Change:
    """What a stage did to one node: `kind` is removed, merged, replaced, changed, added, grouped or lowered.

    `before` and `after` are lines of the texts before and after the stage; `place` is the user's line.
    """

    kind: str
    before: str
    after: tuple[str, ...]
    why: str
    place: str

    def __str__(self) -> str:
        sign = {"removed": "-", "merged": "-", "added": "+"}.get(self.kind, "~")
        head = self.before if self.before else ", ".join(self.after)
        tail = f" -> {'; '.join(self.after)}" if self.before and self.after else ""
        why = f"   ({self.kind}: {self.why})" if self.why else f"   ({self.kind})"
        return f"{sign} {head}{tail}{why}{'  # ' + self.place if self.place else ''}"


class Stages(dict[str, str]):
    """Texts by stage: trace, legalize, simplify, fuse, lower, llvm, asm; `changes` are the differences.

    `graphs` holds the programs after the stages that have one.
    """

    def __init__(
        self, texts: Mapping[str, str], changes: Mapping[str, tuple[Change, ...]], graphs: Mapping[str, Graph]
    ) -> None:
        super().__init__(texts)
        self.changes = dict(changes)
        self.graphs = dict(graphs)

    def difference(self, stage: str) -> str:
        """What a stage removed, added and changed, a line for each node.  Errors: KeyError for a stage without one."""
        return "\n".join(map(str, self.changes[stage])) or "nothing changed"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        from adjit.ir.notebook import text_html

        return text_html(str(self))

    def __repr__(self) -> str:
        return f"<Stages: {', '.join(self)}>"

    def _lines(self) -> Iterator[str]:
        first = next(iter(self))
        yield f"-- {first}"
        yield self[first]
        for stage, changes in self.changes.items():
            counts: dict[str, int] = {}
            for change in changes:
                counts[change.kind] = counts.get(change.kind, 0) + 1
            said = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing changed"
            yield f"\n-- {stage}: {said}"
            yield from (f"  {change}" for change in changes[:_SHOWN])
            if len(changes) > _SHOWN:
                yield f"  and {len(changes) - _SHOWN} more: .difference({stage!r})"
        for stage in self:
            if stage not in self.graphs:
                yield f"\n-- {stage}: {len(self[stage].splitlines())} lines, ['{stage}']"


def stages_of(graph: Graph, *, strict: bool = False, threads: int | None = None) -> Stages:
    """The stages of a traced program."""
    from adjit.compiler.build import LEVEL, llvm_text
    from adjit.compiler.llvm import jit

    shots = snapshots(graph, strict=strict)
    texts = {shot.name: str(shot.graph) for shot in shots}
    text = texts["llvm"] = llvm_text(shots[-1].graph, strict=strict, threads=threads)
    texts["asm"] = jit.assembly(text, None, LEVEL)
    return Stages(texts, differences(shots), {shot.name: shot.graph for shot in shots})


def differences(shots: list[Snapshot]) -> dict[str, tuple[Change, ...]]:
    """What each stage did, by its name."""
    kernels = Kernels(shots)
    found: dict[str, tuple[Change, ...]] = {}
    for before, after in pairwise(shots):
        if after.name == "fuse":
            found[after.name] = tuple(_grouped(after, kernels))
        elif after.name == "lower":
            found[after.name] = tuple(_lowered(before, after, kernels))
        else:
            found[after.name] = tuple(_Difference(before, after).changes())
    return found


class _Difference:
    """The changes from one graph to the next, node by node."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        self.before, self.after = before, after
        self.names, self.new_names = value_names(before.graph), value_names(after.graph)
        self.present = set(after.graph.walk())
        self.claimed: dict[Node, Node] = {}  # by a node after the stage: the one before of which it is the image

    def changes(self) -> Iterator[Change]:
        for node in self.before.graph.walk():
            if node.op.name != "const":
                change = self._of(node)
                if change is not None:
                    yield change
        for node in self.after.graph.walk():
            if node not in self.claimed and node.op.name != "const":
                yield Change("added", "", (self._new(node),), _reason(node, self.after.name), _place(node))

    def _of(self, node: Node) -> Change | None:
        """What became of a node; None if it is as it was."""
        images = [value for output in node.outputs for value in self.after.journal.became(output)]
        nodes = list(dict.fromkeys(value.node for value in images if value.node in self.present))
        if not nodes:
            passed = [value for value in images if value.node is None and value in self.new_names]
            if passed and passed[0] not in node.outputs:
                return Change("removed", self._old(node), (), f"it is %{self.new_names[passed[0]]}", _place(node))
            return Change("removed", self._old(node), (), "nothing uses it", _place(node))
        image = nodes[0]
        if image.op.name == "const":
            value = image.attributes["value"]
            return Change("removed", self._old(node), (), f"it is the constant {value}", _place(node))
        if image in self.claimed and image.op is not node.op:
            why = f"it is {', '.join(f'%{self.new_names[value]}' for value in image.outputs)}"
            return Change("removed", self._old(node), (), why, _place(node))
        if image in self.claimed:
            return Change("merged", self._old(node), (self._new(image),), "computed already", _place(node))
        if image.op is not node.op:
            why = _reason(image, self.after.name)
            kept = [n for n in nodes if n not in self.claimed]
            self.claimed.update(dict.fromkeys(kept, node))
            return Change("replaced", self._old(node), tuple(map(self._new, nodes)), why, _place(node))
        self.claimed[image] = node
        if image is node or (image.attributes == node.attributes and self._same_operands(node, image)):
            return None
        return Change("changed", self._old(node), (self._new(image),), _reason(image, self.after.name), _place(node))

    def _same_operands(self, node: Node, image: Node) -> bool:
        """Whether the operands of the image are what those of the node became."""
        pairs = zip(node.inputs, image.inputs, strict=False)
        return len(node.inputs) == len(image.inputs) and all(
            old is new or new in self.after.journal.became(old) or _equal(old, new) for old, new in pairs
        )

    def _old(self, node: Node) -> str:
        return _text(node, self.names)

    def _new(self, node: Node) -> str:
        return _text(node, self.new_names)


def _equal(old: Value, new: Value) -> bool:
    """Whether both are the same constant."""
    return old.constant is not None and repr(old.constant) == repr(new.constant) and old.dtype is new.dtype


def _grouped(after: Snapshot, kernels: Kernels) -> Iterator[Change]:
    """A change for each group."""
    names = value_names(after.graph)
    for name, node in kernels.groups.items():
        inside = ", ".join(inner.op.name for inner in node.regions[0].nodes if inner.op.name != "const")
        yield Change("grouped", inside, (f"{name}: {_head(node, names)}",), _reason(node, "fuse"), _place(node))


def _lowered(before: Snapshot, after: Snapshot, kernels: Kernels) -> Iterator[Change]:
    """A change for each kernel: its loops and how many scalars they hold."""
    names, new_names = value_names(before.graph), value_names(after.graph)
    for name, node in kernels.nodes.items():
        group = kernels.groups[name]
        loops = [
            f"{inner.op.name} over [{', '.join(map(str, extents_of(inner)))}]"
            for inner in node.regions[0].walk()
            if inner.op in (BLOCKS, FOR, REDUCE)
        ]
        single = (CONTRACT, MATRICES, SORT_ROWS, TRANSFORM, UPDATE)
        loops += [inner.op.name for inner in node.regions[0].walk() if inner.op in single]
        scalars = sum(1 for inner in node.regions[0].walk() if not inner.regions and inner.op.name != "const")
        text = f"{name}: {_head(node, new_names)}: {', '.join(loops) or 'one element'}; {scalars} statements"
        yield Change("lowered", f"{name}: {_head(group, names)}", (text,), "", _place(node))


def _head(node: Node, names: dict[Value, str]) -> str:
    return format_node(node, names).partition(" : ")[0]


def _text(node: Node, names: dict[Value, str]) -> str:
    if node.op in (FUSE, KERNEL):
        return _head(node, names)
    graphs = {graph: graph.name for graph in node.attributes.values() if isinstance(graph, Graph)}
    return format_node(node, names, graphs)


def _reason(node: Node, stage: str) -> str:
    """Why a stage made a node, as far as it says so."""
    steps = [step for step in node.location.steps if step.by in (stage, "inline")]
    return str(steps[-1]) if steps and steps[-1].by != stage else steps[-1].why if steps else ""


def _place(node: Node) -> str:
    location = node.location
    return f"{location.origin} {location.file}:{location.line}".strip() if location.line else ""
