"""`f.explain(*args)` and `f.profile(*args)`: facts gathered for one call of a compiled function."""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adjit.call import Call
from adjit.compiler.compile import compile_graph
from adjit.compiler.differentiate import Derivative
from adjit.compiler.roofline import peaks
from adjit.entry import Entry
from adjit.inspection.facts import EntryFacts, Explanation, LineFacts, Profile, ProgramFacts
from adjit.inspection.programs import Program
from adjit.inspection.saved import saved_facts
from adjit.ir.graph import Graph, Location
from adjit.running import derivative_at, explained_fault, inputs_of
from adjit.runtime.executable import Executable
from adjit.runtime.interpreter import bind_sizes
from adjit.runtime.threads import get_num_threads

if TYPE_CHECKING:
    from adjit.jit import CompiledFunction


def entries_of(compiled: CompiledFunction) -> tuple[EntryFacts, ...]:
    """What is in a function's cache, in the order in which it was made."""
    found = sorted((e for entries in compiled._entries.values() for e in entries), key=lambda entry: entry.number)
    return tuple(
        EntryFacts(
            entry.graph.name,
            tuple(f"{value.name}: {value.type}" for value in entry.graph.inputs),
            (*map(str, entry.graph.guards), *entry.environment.conditions()),
            entry.reason,
            compiled._calls(entry),
            entry.graph.approximate,
            tuple(_quick_code(entry)),
        )
        for entry in found
    )


def _quick_code(entry: Entry) -> Iterator[str]:
    """What is said of the programs of an entry that have no better code than that for their first call."""
    for key, found in list(entry.executables.items()):
        if isinstance(found, Executable) and found.is_quick:
            name = "backward" if isinstance(key, tuple) and key[0] == "backward" else "forward"
            said = "the best is being made" if found.is_improving else "the second call begins to make the best"
            yield f"{name}; {said}"


def explain(compiled: CompiledFunction, entry: Entry, call: Call) -> Explanation:
    """All about the programs that serve a call."""
    job = _Job(compiled, entry, call)
    measured = entry.profile
    facts, lines = job.facts(measured), job.lines(measured) if measured else ()
    saved = () if job.derivative is None else tuple(saved_facts(job.derivative, job.sizes))
    return Explanation(entry.graph.name, entries_of(compiled), facts, saved, lines, peaks(job.threads))


def profile(compiled: CompiledFunction, entry: Entry, call: Call, calls: int) -> Profile:
    """Times of the programs that serve a call, run on copies of what it is given."""
    job = _Job(compiled, entry, call)
    arrays = inputs_of(entry, call)
    given = {"forward": arrays}
    if job.derivative is not None:
        forward = compile_graph(job.derivative.forward, strict=compiled.strict, threads=compiled.threads)
        results = forward.run([array.copy() for array in arrays])
        count = len(entry.graph.outputs)
        seeds = [np.ones_like(results[index]) for index in job.derivative.seeded]
        given["backward"] = [*seeds, *results[count:]]
    whole, times = 0.0, {}
    for name, program in job.programs.items():
        try:
            seconds, times[name] = program.timed(given[name], calls)
        except IndexError as error:
            raise explained_fault(entry, arrays, error) from error
        whole += seconds
    entry.profile = times
    return Profile(entry.graph.name, calls, whole, job.facts(times), job.lines(times))


class _Job:
    """The programs of one call, forward and perhaps backward."""

    def __init__(self, compiled: CompiledFunction, entry: Entry, call: Call) -> None:
        self.threads = get_num_threads() if compiled.threads is None else compiled.threads
        self.sizes = bind_sizes(entry.graph, [array.shape for array in inputs_of(entry, call)])
        self.derivative: Derivative | None = derivative_at(entry, call)
        graphs: dict[str, Graph] = {"forward": entry.graph}
        if self.derivative is not None:
            graphs = {"forward": self.derivative.forward, "backward": self.derivative.backward}
        self.programs = {
            name: Program(name, graph, self.sizes, compiled.strict, compiled.threads)
            for name, graph in graphs.items()
        }  # fmt: skip

    def facts(self, times: Mapping[str, Sequence[float]] | None) -> tuple[ProgramFacts, ...]:
        rates = peaks(self.threads)
        return tuple(
            program.facts(rates, times.get(name) if times else None) for name, program in self.programs.items()
        )

    def lines(self, times: Mapping[str, Sequence[float]]) -> tuple[LineFacts, ...]:
        """Seconds of each of the user's lines, forward and backward together, most first."""
        total: dict[tuple[str, int], float] = {}
        places: dict[tuple[str, int], Location] = {}
        for name, program in self.programs.items():
            for location, seconds in program.by_line(times[name]).items():
                key = (location.path or location.file, location.line)
                total[key] = total.get(key, 0.0) + seconds
                places.setdefault(key, location)
        return tuple(
            LineFacts(f"{places[key].file}:{key[1]}", linecache.getline(*key).strip(), seconds, *key)
            for key, seconds in sorted(total.items(), key=lambda pair: -pair[1])
        )
