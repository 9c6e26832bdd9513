"""The arguments of a call: from the command line, else from `@example_inputs`, else parameters' defaults."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.command.failure import UsageError
from adjit.command.target import Target
from adjit.sample_arguments import ArgumentError, attached, read_argument

_NAMED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)


def given_arguments(texts: Sequence[str], seed: int) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that texts `VALUE` and `NAME=VALUE` describe."""
    numbers = np.random.default_rng(seed)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        try:
            value = read_argument(match[2] if match else text, numbers)
        except ArgumentError as error:
            raise UsageError(f"argument {match[1] + ': ' if match else ''}{error}") from None
        if match:
            named[match[1]] = value
        else:
            positional.append(value)
    return positional, named


def arguments_of(target: Target, texts: Sequence[str], seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """The arguments to call a target with.

    Errors: UsageError that names the parameters without an argument, and shows how to give them.
    """
    signature = target.signature
    positional, named = given_arguments(texts, seed)
    if not positional:
        found = attached(target.object, seed) or attached(target.compiled.function, seed)
        if found is not None:
            positional, named = _merged(signature, found, named)
    try:
        bound = signature.bind(*positional, **named)  # in the parameters' order, which is that of the program's inputs
    except TypeError as error:
        raise UsageError(f"{target.name}{signature}: {error}{_advice(signature, positional, named)}") from None
    return list(bound.args), bound.kwargs


def _merged(
    signature: inspect.Signature, found: tuple[list[Any], dict[str, Any]], named: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The attached arguments, with those of the command line in place of their namesakes."""
    positional, own = found
    parameters = [
        name for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    rest = dict(named)
    merged = [rest.pop(name, value) for name, value in zip(parameters, positional, strict=False)]
    return [*merged, *positional[len(merged) :]], {**own, **rest}


def _advice(signature: inspect.Signature, positional: Sequence[Any], named: dict[str, Any]) -> str:
    missing = [
        name
        for name, p in list(signature.parameters.items())[len(positional) :]
        if p.default is p.empty and name not in named and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if not missing:
        return ""
    example = " ".join(f"--arg '{name}=f32[64, 3]'" for name in missing)
    types = ", ".join('"f32[64, 3]"' for _ in signature.parameters)
    return f"\n  give arguments: {example}\n  or above the function, in the script: @adjit.example_inputs({types})"
