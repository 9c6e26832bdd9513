"""What can be said of a compiled function, as plain data: entries, programs, kernels, saved values, times."""

from __future__ import annotations

from dataclasses import dataclass

from adjit.compiler.roofline import Peaks


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """One traced program in the cache: its inputs, the conditions under which it serves, why it was made.

    `approximate`: it was compiled so, its math functions in float32 may have larger errors.  `quick`: which of its
    programs (forward, backward) run code that was made quickly, as there is no better one yet, and what is done about
    it.
    """

    name: str
    inputs: tuple[str, ...]
    guards: tuple[str, ...]
    reason: str
    calls: int
    approximate: bool = False
    quick: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """One kernel.

    `ops` are the tensor ops that it computes, `places` the user's lines (file:line, with a `∂` for each
    differentiation); `stored` says why each result is in memory, `refused` which ops did not join it and why;
    `scalar` why its loops are not cut into vectors (empty where they are).  A call runs it `runs` times, as the loops
    around it say.  `flops` and `bytes` are counted over these; `least` is the roofline bound in seconds, set by `bound`
    (compute or memory: the main memory, which caches can beat); `seconds` is measured, None unless profiled.
    """

    name: str
    ops: tuple[str, ...]
    places: tuple[str, ...]
    loops: tuple[str, ...]
    stored: tuple[str, ...]
    refused: tuple[str, ...]
    scalar: tuple[str, ...]
    runs: int
    flops: int
    bytes: int
    least: float
    bound: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """One program (forward, backward) of an entry.

    Bytes of its inputs, results and arena; `live` is the most that is needed at once of what the arena holds, `values`
    what these would take without sharing.
    """

    name: str
    kernels: tuple[KernelFacts, ...]
    inputs: int
    results: int
    arena: int
    live: int
    values: int

    @property
    def flops(self) -> int:
        return sum(kernel.flops for kernel in self.kernels)

    @property
    def bytes(self) -> int:
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def least(self) -> float:
        """The roofline bound: the sum of the kernels' own."""
        return sum(kernel.least for kernel in self.kernels)

    @property
    def seconds(self) -> float | None:
        """The measured time of all kernels, if they were profiled."""
        times = [kernel.seconds for kernel in self.kernels if kernel.seconds is not None]
        return sum(times) if len(times) == len(self.kernels) else None


@dataclass(frozen=True, slots=True)
class SavedFacts:
    """A forward value that backward uses: `how` is input, saved or recomputed; `why` says why."""

    value: str
    how: str
    bytes: int
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class LineFacts:
    """A line of the user's, and the measured seconds of the instructions it causes; kernels of several lines are
    shared out by the instructions of each.  `place` is file:line, `path` the file's whole path."""

    place: str
    text: str
    seconds: float
    path: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is in a compiled function's cache, and all about the program for one kind of call.

    Printed, it reads from the cache down to the kernels.
    """

    name: str
    entries: tuple[EntryFacts, ...]
    programs: tuple[ProgramFacts, ...] = ()
    saved: tuple[SavedFacts, ...] = ()
    lines: tuple[LineFacts, ...] = ()
    peaks: Peaks | None = None

    def __str__(self) -> str:
        from adjit.inspection.printing import explanation_lines

        return "\n".join(explanation_lines(self))

    def _repr_html_(self) -> str:
        from adjit.ir.notebook import text_html

        return text_html(str(self))


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured times: `seconds` of a whole call, kernel by kernel and line by line.

    Each is the least of `calls` calls; the programs ran on copies of the arguments.
    """

    name: str
    calls: int
    seconds: float
    programs: tuple[ProgramFacts, ...]
    lines: tuple[LineFacts, ...]

    def __str__(self) -> str:
        from adjit.inspection.printing import profile_lines

        return "\n".join(profile_lines(self))

    def _repr_html_(self) -> str:
        from adjit.ir.notebook import text_html

        return text_html(str(self))
