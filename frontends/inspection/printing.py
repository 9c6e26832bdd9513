"""Explanations and profiles as text."""

from __future__ import annotations

from collections.abc import Iterator

from adjit.inspection.facts import Explanation, KernelFacts, LineFacts, Profile, ProgramFacts, SavedFacts


def explanation_lines(found: Explanation) -> Iterator[str]:
    """The printed form: the cache, then each program with its kernels, then what is saved and the times of lines."""
    count = len(found.entries)
    yield f"@{found.name}: {f'{count} programs' if count != 1 else '1 program'} in the cache" if count else (
        f"@{found.name}: not called yet"
    )
    for entry in found.entries:
        yield f"  @{entry.name}({', '.join(entry.inputs)}): {entry.reason}; {entry.calls} calls"
        if entry.guards:
            yield f"    where {', '.join(entry.guards)}"
        if entry.approximate:
            yield "    approximate: math functions in float32 may be wrong by a relative 2^-17 (pow 2^-16)"
        for quick in entry.quick:
            yield f"    quick code: {quick}"
    if found.peaks is not None:
        peaks = found.peaks
        yield (
            f"measured peaks with {peaks.threads} threads: {peaks.flops_f32 / 1e9:.0f} GFLOP/s in f32, "
            f"{peaks.flops_f64 / 1e9:.0f} in f64, {peaks.bandwidth / 1e9:.1f} GB/s"
        )
    for program in found.programs:
        yield ""
        yield from _program(program)
    if found.saved:
        yield ""
        total = sum(saved.bytes for saved in found.saved if saved.how == "saved")
        yield f"saved for backward: {size_text(total)} beside the inputs"
        yield from map(_saved, found.saved)
    if found.lines:
        yield ""
        yield from _times(found.lines)


def profile_lines(found: Profile) -> Iterator[str]:
    """The printed form of a profile."""
    yield f"@{found.name}: {time_text(found.seconds)} a call, the least of {found.calls}"
    for program in found.programs:
        yield f"{program.name}:"
        for kernel in sorted(program.kernels, key=lambda kernel: -(kernel.seconds or 0.0)):
            yield f"  {_measured(kernel)}  {kernel.name}: {', '.join(kernel.ops)}  # {', '.join(kernel.places)}"
    yield from _times(found.lines)


def _program(program: ProgramFacts) -> Iterator[str]:
    yield (
        f"{program.name}: {len(program.kernels)} kernels, {count_text(program.flops)} flops, {size_text(program.bytes)}"
        f" moved, at least {time_text(program.least)}"
        + ("" if program.seconds is None else f", measured {time_text(program.seconds)}")
    )
    yield (
        f"  memory: inputs {size_text(program.inputs)}, results {size_text(program.results)}, arena "
        f"{size_text(program.arena)} (at most {size_text(program.live)} live at once, {size_text(program.values)} "
        "without sharing)"
    )
    for kernel in program.kernels:
        yield from _kernel(kernel)


def _kernel(kernel: KernelFacts) -> Iterator[str]:
    yield f"  {kernel.name}: {', '.join(kernel.ops)}  # {', '.join(kernel.places)}"
    times = f"at least {time_text(kernel.least)} ({kernel.bound})"
    if kernel.seconds is not None:
        times += f", measured {time_text(kernel.seconds)}"
    often = f"{kernel.runs} times " if kernel.runs != 1 else ""
    yield f"    {often}{', '.join(kernel.loops)}; {count_text(kernel.flops)} flops, {size_text(kernel.bytes)}, {times}"
    for reason in kernel.stored:
        yield f"    stored: {reason}"
    for reason in kernel.refused:
        yield f"    not joined: {reason}"
    for reason in kernel.scalar:
        yield f"    scalar: {reason}"


def _saved(saved: SavedFacts) -> str:
    return f"  {saved.how} {saved.value} ({size_text(saved.bytes)}): {saved.why}  # {saved.place}".removesuffix("  # ")


def _times(lines: tuple[LineFacts, ...]) -> Iterator[str]:
    total = sum(line.seconds for line in lines) or 1.0
    yield "time by line:"
    for line in lines:
        yield f"  {time_text(line.seconds):>8}  {line.seconds / total:6.1%}  {line.place}    {line.text}"


def _measured(kernel: KernelFacts) -> str:
    seconds = kernel.seconds or 0.0
    near = f"{kernel.least / seconds:4.0%} of the bound" if seconds >= kernel.least and seconds else "in cache"
    return f"{time_text(seconds):>8}  {near:>18}"


def time_text(seconds: float) -> str:
    """A time with three digits and its unit.

    >>> time_text(0.0123)
    '12.3 ms'
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def size_text(count: int) -> str:
    """Bytes with three digits and their unit.

    >>> size_text(3 << 20)
    '3 MiB'
    """
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def count_text(count: int) -> str:
    """A number with three digits and its power of a thousand.

    >>> count_text(1234567)
    '1.23 M'
    """
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return str(count)
