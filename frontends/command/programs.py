"""`run`: a program's text on given arrays, or a script's function on its arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adjit.command.calls import arguments_of, given_arguments
from adjit.command.failure import OK, UsageError
from adjit.command.target import find
from adjit.command.terminal import paint, paint_program
from adjit.ir.graph import Value
from adjit.ir.shape import Dim, evaluate
from adjit.program import Program, load_program
from adjit.sample_arguments import tensor_of
from adjit.tensor import Tensor

DEFAULT_SIZE = 4


def run(file: str, given: Sequence[str], sizes: Sequence[str], seed: int, *, grad: bool, as_json: bool) -> int:
    """Run a `.adjit` program, or a function of a script, and print its results."""
    if not file.endswith(".adjit"):
        target = find(file)
        args, kwargs = arguments_of(target, given, seed)
        _print_results(target.compiled(*args, **kwargs), as_json)
        return OK
    program = program_in(file)
    if grad:
        print(paint_program(str(program.vjp())))
        return OK
    _print_results(program(*_inputs(program, given, sizes, seed)), as_json)
    return OK


def program_in(file: str) -> Program:
    """The program in a `.adjit` file.  Errors: UsageError where there is no such file."""
    if not Path(file).is_file():
        raise UsageError(f"no file {file}")
    return load_program(file)


def _inputs(program: Program, given: Sequence[str], sizes: Sequence[str], seed: int) -> list[Any]:
    """A tensor for each input: those given, and ones for the others, whose sizes follow from those given."""
    positional, named = given_arguments(given, seed)
    inputs = list(program.graph.inputs)
    names = [str(value.name) for value in inputs]
    found = dict(zip(names, positional, strict=False))
    clashing = [name for name in named if name in found or name not in names]
    if clashing or len(positional) > len(inputs):
        raise UsageError(f"@{program.graph.name} has the inputs {', '.join(f'{v.name}: {v.type}' for v in inputs)}")
    found.update(named)
    values = _sizes(program, inputs, found, sizes)
    numbers = np.random.default_rng(seed)
    return [
        found[name]
        if name in found
        else tensor_of(value.dtype, [evaluate(dim, values) for dim in value.dims], numbers, "ones")
        for name, value in zip(names, inputs, strict=True)
    ]


def _sizes(program: Program, inputs: Sequence[Value], found: dict[str, Any], sizes: Sequence[str]) -> dict[str, int]:
    """The value of each named size: as given, as the given inputs have it, or DEFAULT_SIZE."""
    values: dict[str, int] = {}
    for item in sizes:
        name, _, number = item.partition("=")
        if not number.isdecimal() or name not in program.graph.size_names:
            known = ", ".join(sorted(program.graph.size_names)) or "none"
            raise UsageError(f"--size {item}: expected NAME=NUMBER; @{program.graph.name} has the sizes {known}")
        values[name] = int(number)
    for value in inputs:
        shape = np.shape(found[str(value.name)]) if value.name in found else ()
        for dim, extent in zip(value.dims, shape, strict=False):
            if isinstance(dim, Dim) and (name := str(dim)) in program.graph.size_names:
                values.setdefault(name, extent)
    return {name: values.get(name, DEFAULT_SIZE) for name in program.graph.size_names}


def _print_results(results: Any, as_json: bool) -> None:
    found = results if isinstance(results, (tuple, list)) else (results,)
    if as_json:
        print(json.dumps([_described(result) for result in found], indent=1))
        return
    for result in found:
        if isinstance(result, Tensor):
            print(paint(str(result._tensor_type), "type"))
        print(result)


def _described(result: Any) -> Any:
    """What JSON can say of a result; text for what it has no word for."""
    if isinstance(result, Tensor):
        return {"type": str(result._tensor_type), "value": result.tolist()}
    if isinstance(result, (list, tuple)):
        return [_described(item) for item in result]
    if isinstance(result, dict):
        return {str(key): _described(item) for key, item in result.items()}
    return result if result is None or isinstance(result, (bool, int, float, str)) else str(result)
