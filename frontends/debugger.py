"""`debug`: step through what a function computes, forward and backward in its pass and in time.

A compiled function is stepped as it is compiled, with the bits of that run; a plain function as eager mode runs it.
The run is recorded first and nothing is written, so going back is as easy as going on.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

from adjit.compiler.observe import Array, floats
from adjit.compiler.replay import Replay, Step, replay
from adjit.errors import line_of
from adjit.ir.graph import Value
from adjit.ir.printer import format_node
from adjit.ir.types import DType
from adjit.jit import CompiledFunction, compile
from adjit.running import derivative_in, inputs_of, operands_of
from adjit.tensor import Tensor

__all__ = ["Session", "debug"]

Test = Callable[[Array], Any]
_TESTS: dict[str, Test] = {
    "isnan": np.isnan,
    "isinf": np.isinf,
    "nonfinite": lambda array: ~np.isfinite(array),
    "nonzero": lambda array: array != 0,
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a run stops: at an operation that `stops` accepts, or after one whose result meets a condition.

    `text` is what the user asked for.
    """

    number: int
    text: str
    stops: Callable[[int], str]


class Session:
    """A recorded run and a place in it: before the operation `step`, `position` steps from the start.

    Moving: `step`, `next`, `back`, `line`, `run` (to the next pause), `run_back`, `backward`, `forward`, `goto`.
    Looking: `value`, `where`, `list`, `operands`, `results`.  Pauses: `break_at`, `watch`, `delete`.
    Each move returns the reason why it stopped there.
    """

    def __init__(self, forward: Replay, back: Replay | None) -> None:
        self.passes = [forward] if back is None else [forward, back]
        self.steps: list[Step] = [step for each in self.passes for step in each.steps]
        self.turning = len(forward.steps)  # where the backward pass starts
        self.position = 0
        self.pauses: list[Pause] = []
        self._numbers = 0

    # -- looking ------------------------------------------------------------------------------------------------------
    @property
    def current(self) -> Step | None:
        """The operation that comes next; None at the end."""
        return self.steps[self.position] if self.position < len(self.steps) else None

    @property
    def finished(self) -> bool:
        return self.position >= len(self.steps)

    @property
    def exact(self) -> bool:
        """Whether every value has the bits that the run itself computed."""
        return not any(each.inexact for each in self.passes)

    @property
    def in_backward(self) -> bool:
        """Whether the next operation belongs to a backward pass."""
        step = self.current
        return self.position >= self.turning if step is None else self._is_backward(self.position)

    def _is_backward(self, position: int) -> bool:
        return position >= self.turning or "∂" in self.steps[position].node.location.origin

    def _pass_of(self, position: int) -> Replay:
        return self.passes[-1 if position >= self.turning and len(self.passes) > 1 else 0]

    def value(self, name: str) -> Array:
        """A value by its name, `%3` or `x`, or elements of it, `%3[0, 2]`, as far as it is computed.

        Errors: LookupError for a name that there is not, or that is not computed yet.
        """
        match = re.fullmatch(r"%?([\w.]+)\s*(?:\[(.*)\])?", name.strip())
        if match is None:
            raise LookupError(f"{name!r} is no value: write %3, x or %3[0, 2]")
        found, value = self._find(match[1])
        numbers = np.asarray(floats(found, value))
        return numbers if match[2] is None else np.asarray(numbers[_index(match[2])])

    def _find(self, name: str) -> tuple[Array, Value]:
        known = False
        for each in reversed(self.passes) if self.position >= self.turning else self.passes[:1]:
            for value, own in each.names.items():
                if own != name:
                    continue
                known = True
                if value in each.inputs:
                    return each.inputs[value], value
                for position in range(self.position - 1, -1, -1):
                    step = self.steps[position]
                    if value in step.node.outputs and self._pass_of(position) is each:
                        return step.values[value], value
                for step in reversed(self.steps[: self.position + 1]):  # what a loop was given
                    if value in step.values and value.node is None:
                        return step.values[value], value
        raise LookupError(f"%{name} is not computed yet: go on first" if known else f"there is no value %{name}")

    def operands(self) -> dict[str, Array]:
        """The operands of the next operation."""
        step = self.current
        if step is None:
            return {}
        names = self._pass_of(self.position).names
        given = [value for value in step.node.inputs if value.constant is None]
        return {f"%{names[value]}": floats(step.values[value], value) for value in given if value in step.values}

    def results(self) -> list[Array]:
        """The results of the whole run: those of the forward pass, then the gradients."""
        return [array for each in self.passes for array in each.results]

    def text_of(self, position: int) -> str:
        """The line of the operation at a position."""
        step = self.steps[position]
        head = format_node(step.node, self._pass_of(position).names)
        place = f"{step.node.location}" if step.node.location.line else ""
        kernel = "" if step.kernel is None else f" k{step.kernel}"
        turns = f" turn {', '.join(map(str, step.turns))}" if step.turns else ""
        return f"{head}   # {place}{kernel}{turns}"

    def where(self) -> str:
        """The user's line, and the operation that comes next."""
        step = self.current
        if step is None:
            return "at the end"
        phase = "backward" if self.in_backward else "forward"
        lines = [f"step {self.position + 1} of {len(self.steps)}, {phase}", *line_of(step.node.location)]
        return "\n".join([*lines, f"  {self.text_of(self.position)}"])

    def list(self, around: int = 5) -> str:
        """The operations around the next one, which `->` marks."""
        first, last = max(0, self.position - around), min(len(self.steps), self.position + around + 1)
        marks = {self.position: "->"}
        return "\n".join(f"{marks.get(number, '  ')} {self.text_of(number)}" for number in range(first, last))

    def __repr__(self) -> str:
        return f"<debug session, {self.where()}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.where())}\n\n{escape(self.list())}</pre>"

    # -- moving -------------------------------------------------------------------------------------------------------
    def goto(self, position: int) -> str:
        """Go to a step, counted from 0."""
        self.position = max(0, min(position, len(self.steps)))
        return "end" if self.finished else "step"

    def step(self, count: int = 1) -> str:
        """Run the next operation, into loops and branches."""
        return self.goto(self.position + count)

    def back(self, count: int = 1) -> str:
        """Take the last operation back."""
        return self.goto(self.position - count)

    def next(self) -> str:
        """Run the next operation, over loops and branches."""
        return self._while(lambda at, first: len(at.turns) > len(first.turns))

    def line(self) -> str:
        """Run on to another line of the program."""
        return self._while(lambda at, first: _place(at) == _place(first))

    def _while(self, goes_on: Callable[[Step, Step], bool]) -> str:
        first = self.current
        if first is None:
            return "end"
        self.position += 1
        while self.current is not None and goes_on(self.current, first):
            self.position += 1
        return "end" if self.finished else "step"

    def run(self) -> str:
        """Run on to the next pause."""
        return self._to(range(self.position + 1, len(self.steps) + 1)) or self.goto(len(self.steps))

    def run_back(self) -> str:
        """Run back to the pause before."""
        return self._to(range(self.position - 1, -1, -1)) or self.goto(0)

    def _to(self, positions: Iterable[int]) -> str:
        for position in positions:
            for pause in self.pauses:
                reason = pause.stops(position)
                if reason:
                    self.position = position
                    return reason
        return ""

    def backward(self) -> str:
        """Step into the backward pass of the next operation: to the first step that its derivative has on this line."""
        return self._across(True, "the backward pass has nothing of this line")

    def forward(self) -> str:
        """Go back to the forward pass, to the line that the next operation is the derivative of."""
        return self._across(False, "the forward pass has nothing of this line")

    def _across(self, backward: bool, none: str) -> str:
        step = self.current or (self.steps[-1] if self.steps else None)
        if step is None:
            raise LookupError(none)
        at, wanted = step.node.location, "∂" if backward else ""
        there = [n for n in range(len(self.steps)) if self._is_backward(n) is backward]
        there = [n for n in there if _place(self.steps[n]) == _place(step)]
        # Best of all a step of the same operation, and of the derivative itself, not of what it computes again.
        there.sort(key=lambda n: (self.steps[n].node.location.columns != at.columns,
                                  wanted not in self.steps[n].node.location.origin))  # fmt: skip
        if not there:
            raise LookupError(none)
        return self.goto(there[0])

    # -- pauses -------------------------------------------------------------------------------------------------------
    def break_at(self, place: int | str) -> int:
        """Pause before a line (12, "train.py:12"), a value's operation ("%3") or every operation of a name ("mul").

        Errors: LookupError where the run has no such place.
        """
        text = str(place).strip()
        if re.fullmatch(r"(.+:)?\d+", text):
            file, _, number = text.rpartition(":")

            def fits(position: int) -> bool:
                at = self.steps[position].node.location
                same = at.line == int(number) and (not file or at.file == file or at.path.endswith(file))
                before = self.steps[position - 1] if position else None
                return same and (before is None or _place(before) != _place(self.steps[position]))
        elif text.startswith("%"):

            def fits(position: int) -> bool:
                names = self._pass_of(position).names
                return any(names.get(value) == text[1:] for value in self.steps[position].node.outputs)
        else:

            def fits(position: int) -> bool:
                return self.steps[position].node.op.name == text

        if not any(fits(position) for position in range(len(self.steps))):
            raise LookupError(f"nothing stands at {text}")
        return self._add(f"break {text}", lambda at: "break" if at < len(self.steps) and fits(at) else "")

    def watch(self, name: str | None, test: str | Test = "isnan") -> int:
        """Pause after an operation whose result (of the name, or any) meets a test in some element.

        `test` is isnan, isinf, nonfinite, nonzero, a comparison such as "> 5", or a function of the array.
        Errors: ValueError for another test, LookupError for a name that there is not.
        """
        meets = _test(test) if isinstance(test, str) else test
        wanted = None if name is None else name.lstrip("%")
        if wanted is not None and not any(wanted in each.names.values() for each in self.passes):
            raise LookupError(f"there is no value %{wanted}")

        def stops(position: int) -> str:
            if not position:
                return ""
            step, names = self.steps[position - 1], self._pass_of(position - 1).names
            for value in step.node.outputs:
                if wanted in (None, names.get(value)):
                    numbers = floats(step.values[value], value)
                    with np.errstate(all="ignore"):
                        found = np.asarray(meets(numbers))
                    if found.any():
                        where = [int(i) for i in np.unravel_index(int(found.argmax()), found.shape)]
                        at = f"{where} = {numbers[tuple(where)]}" if found.shape == numbers.shape else ""
                        return f"watch: %{names[value]}{at}"
            return ""

        return self._add(f"watch {'any value' if wanted is None else '%' + wanted} {test}", stops)

    def _add(self, text: str, stops: Callable[[int], str]) -> int:
        self._numbers += 1
        self.pauses.append(Pause(self._numbers, text, stops))
        return self._numbers

    def delete(self, number: int | None = None) -> None:
        """Remove a pause, or all."""
        self.pauses = [pause for pause in self.pauses if number is not None and pause.number != number]

    # -- commands -----------------------------------------------------------------------------------------------------
    def prompt(self, commands: Iterable[str] | TextIO | None = None, output: TextIO | None = None) -> Session:
        """Take commands as pdb does, from the terminal or from `commands`."""
        from adjit.debug_prompt import Prompt

        Prompt(self, commands, output or sys.stdout).cmdloop()
        return self


def _place(step: Step) -> tuple[str, int]:
    return step.node.location.path or step.node.location.file, step.node.location.line


def _index(text: str) -> tuple[Any, ...]:
    parts: list[Any] = []
    for part in text.split(","):
        pieces = [int(piece) if piece.strip() else None for piece in part.split(":")]
        parts.append(slice(*pieces) if len(pieces) > 1 else pieces[0])
    return tuple(parts)


def _test(text: str) -> Test:
    if text in _TESTS:
        return lambda array: _TESTS[text](array) if array.dtype.kind == "f" or text == "nonzero" else np.zeros(1, bool)
    match = re.fullmatch(r"(<=|>=|==|!=|<|>)\s*(\S+)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no test: {', '.join(_TESTS)}, or a comparison such as > 5")
    compare, number = _COMPARISONS[match[1]], float(match[2])
    return lambda array: compare(array, number)


def debug(
    f: Callable[..., Any],
    /,
    *args: Any,
    commands: Iterable[str] | TextIO | None = None,
    prompt: bool | None = None,
    cotangents: Sequence[Any] | None = None,
    **kwargs: Any,
) -> Session:
    """A session at the start of `f(*args, **kwargs)`: of what `f` computes, then of its backward pass.

    A compiled function is stepped with the bits of its compiled run; another one with those of eager mode.  The
    backward pass is there where an argument or a parameter requires grad; `cotangents` are those of the outputs that
    require grad (default: ones).  With a terminal, or `commands` (a list, or a file), it takes commands as pdb does;
    `prompt` says so otherwise.  Nothing is written: not the inputs, not the gradients.

    >>> import adjit as torch
    >>> session = debug(torch.compile(lambda x: torch.sin(x) * 2), torch.tensor([0.0, 1.0]))
    >>> session.break_at("mul"), session.run(), session.value("%0").tolist()
    (1, 'break', [0.0, 0.8414709568023682])
    """
    compiled = f if isinstance(f, CompiledFunction) else compile(f, strict=True)
    call, entry = compiled.served(args, kwargs)
    arrays = [np.asarray(array, order="C") for array in inputs_of(entry, call)]
    operands = operands_of(entry, call)
    needs = tuple(operand is not None and operand.requires_grad for operand in operands)
    forward, back = entry.graph, None
    options: dict[str, Any] = {"strict": compiled.strict, "threads": compiled.threads}
    if entry.differentiable:
        derivative = derivative_in(entry, needs)
        forward = derivative.forward
    first = replay(forward, arrays, **options)
    if entry.differentiable:
        count = len(entry.graph.outputs)
        seeds = [_seed(first.results[index], forward.outputs[index].dtype, cotangents, place)
                 for place, index in enumerate(derivative.seeded)]  # fmt: skip
        back = replay(derivative.backward, [*seeds, *first.results[count:]], **options)
        first.results = first.results[:count]
    session = Session(first, back)
    if prompt if prompt is not None else commands is not None or sys.stdin.isatty():
        session.prompt(commands)
    return session


def _seed(result: Array, dtype: DType, cotangents: Sequence[Any] | None, place: int) -> Array:
    """The cotangent that the backward pass starts with."""
    if cotangents is None:
        from adjit.creation import ones

        return np.asarray(ones(result.shape, dtype=_public(dtype))._array)
    given = cotangents[place]
    return np.asarray(given._array if isinstance(given, Tensor) else np.asarray(given, dtype.storage))


def _public(dtype: DType) -> Any:
    from adjit.dtypes import public

    return public(dtype)
