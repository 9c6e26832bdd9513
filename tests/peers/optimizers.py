"""adjit's optimizers against torch's database of them: `python -m tests.peers.optimizers [--names Adam,SGD] [-v]`.

For each optimizer, each set of arguments of the database and each implementation that torch offers on the CPU
(`foreach`, `fused`), both libraries take some steps on one problem with parameter groups: parameters,
printed text and state must agree after each step, eager and (--compiled) as a compiled training step.  Bad inputs must
raise torch's class with torch's first line.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_optimizers import optim_db

import adjit
from tests.peers.bridge import ours

STEPS = 5
SHAPES = ((3, 4), (4, 2))  # Muon takes matrices only


class Different(AssertionError):
    """The two libraries disagree."""


def flags_of(info: Any) -> list[dict[str, bool]]:
    """The implementations that torch has for the optimizer here."""
    found: list[dict[str, bool]] = [{}]
    for name in info.supported_impls:
        if name == "differentiable" or (name == "fused" and "cpu" not in info.supports_fused_on):
            continue  # steps on leaves that autograd records are refused
        found.append({name: True})
    return found


def problem(library: Any, dtype: Any, seed: int) -> tuple[list[Any], Callable[[], Any]]:
    """Parameters, and the loss: sum |p|^2 * w + cos(p) * v, with the same numbers in both libraries."""
    numbers = np.random.default_rng(seed)
    part = library.float64 if dtype.is_complex else dtype
    tensors = [[library.tensor(numbers.standard_normal(shape), dtype=part) for _ in range(3)] for shape in SHAPES]
    parameters = [library.nn.Parameter(start) for start, _, _ in tensors]
    if dtype.is_complex:
        parameters = [library.nn.Parameter(library.complex(start, w)) for start, w, _ in tensors]

    def loss() -> Any:
        parts = [
            (p * p.conj() * w * w).real.sum() + (p.cos() * v).real.sum()
            for p, (_, w, v) in zip(parameters, tensors, strict=True)
        ]
        return parts[0] + parts[1]

    return parameters, loss


def take_steps(info: Any, library: Any, kwargs: dict[str, Any], compiled: bool, dtype: str) -> Iterator[list[Any]]:
    """The parameters after each step, then the optimizer's text and state."""
    parameters, loss = problem(library, getattr(library, dtype), 3)
    groups: list[dict[str, Any]] = [{"params": [p]} for p in parameters]
    if "lr" not in kwargs and info.supports_param_groups:
        groups[1]["lr"] = 0.01
    given = groups if info.supports_param_groups else parameters
    optimizer = getattr(library.optim, info.optim_cls.__name__)(given, **kwargs)

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    def step() -> Any:
        if info.step_requires_closure:
            return optimizer.step(closure)
        closure()
        return optimizer.step()

    run = adjit.compile(step) if compiled else step
    for _ in range(STEPS):
        run()
        yield [np.asarray(p.detach().numpy()) for p in parameters]
    yield [repr(optimizer), state_of(optimizer)]


def state_of(optimizer: Any) -> dict[str, Any]:
    """The state by parameter and name, as arrays."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)
        for number, entries in state.items()
        for name, value in entries.items()
        if not isinstance(value, (list, dict, type(None)))
    }


def check(info: Any, kwargs: dict[str, Any], compiled: bool, dtype: str) -> None:
    """Both take the same steps."""
    bound = 1e-9 if dtype in ("float64", "complex128") else 2e-5
    if info.optim_cls.__name__ == "ASGD" and kwargs.get("foreach"):
        bound = 1e-6  # torch keeps eta in float32 there
    if info.optim_cls.__name__ == "Muon":
        bound = 2e-4  # products in bfloat16
    both = zip(
        take_steps(info, adjit, ours(kwargs), compiled, dtype),
        take_steps(info, torch, kwargs, False, dtype),
        strict=True,
    )
    for number, (mine, theirs) in enumerate(both):
        if number < STEPS:
            for a, b in zip(mine, theirs, strict=True):
                if not np.allclose(a, b, rtol=bound, atol=bound):
                    raise Different(f"step {number}: off by {np.abs(a - b).max():.3g}")
            continue
        if mine[0] != theirs[0]:
            raise Different(f"text:\n{mine[0]}\ntorch:\n{theirs[0]}")
        if sorted(mine[1]) != sorted(theirs[1]):
            raise Different(f"state: {sorted(mine[1])}, torch has {sorted(theirs[1])}")
        if dtype.startswith("complex"):
            continue  # ours holds the parts in the state, a pair for each number
        for name, value in theirs[1].items():
            if mine[1][name].shape != value.shape or not np.allclose(mine[1][name], value, rtol=1e-4, atol=1e-5):
                raise Different(f"state {name}: {mine[1][name]}, torch has {value}")


def check_error(info: Any, bad: Any) -> None:
    """The same class and first line as torch's error or warning."""
    raised = []
    for library in (torch, adjit):
        given = bad.optimizer_error_input
        params = given.params
        if params is None:
            params = [torch.nn.Parameter(torch.ones(1, 1, dtype=torch.float64))]
        change = _exchanged if library is adjit else (lambda value: value)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                optimizer = getattr(library.optim, info.optim_cls.__name__)(change(params), **change(given.kwargs))
                optimizer.step()
                raised.append("nothing")
            except Exception as error:
                kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
                raised.append(f"{kind.__name__}: {(str(error).splitlines() or [''])[0]}")
    if raised[0] != raised[1]:
        raise Different(f"{raised[1]}\n  torch: {raised[0]}")


def _exchanged(value: Any, known: dict[int, Any] | None = None) -> Any:
    """The value with each parameter of torch's as one of ours, the same for the same."""
    known = {} if known is None else known
    if isinstance(value, torch.nn.Parameter) or (isinstance(value, torch.Tensor) and value.grad is not None):
        if id(value) not in known:
            made = known[id(value)] = adjit.nn.Parameter(ours(value.detach()))
            made.grad = ours(value.grad)
        return known[id(value)]
    if isinstance(value, (tuple, list)):
        return type(value)(_exchanged(item, known) for item in value)
    if isinstance(value, dict):
        return {key: _exchanged(item, known) for key, item in value.items()}
    return ours(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", default="*")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    passed = failed = 0
    for info in optim_db:
        name = info.optim_cls.__name__
        if not any(fnmatch.fnmatch(name, pattern) for pattern in options.names.split(",")):
            continue
        jobs: list[tuple[str, Callable[[], None]]] = []
        dtype = getattr(torch, options.dtype)
        if not info.only_supports_sparse_grads:
            for given in info.optim_inputs_func(device="cpu", dtype=dtype):
                for flags in flags_of(info):
                    kwargs = {**given.kwargs, **flags}
                    job = lambda kwargs=kwargs, info=info: check(info, kwargs, options.compiled, options.dtype)  # noqa: E731
                    jobs.append((f"{kwargs}", job))
        for bad in info.optim_error_inputs_func(device="cpu", dtype=dtype):
            jobs.append((f"error {bad.optimizer_error_input.desc}", lambda bad=bad, info=info: check_error(info, bad)))  # type: ignore[misc]
        for what, job in jobs:
            try:
                job()
                passed += 1
            except Exception as error:
                failed += 1
                text = f"{type(error).__name__}: {error}"
                print(f"{name} {what}: {text[: 4000 if options.verbose else 500]}", flush=True)
    print(f"{passed} of {passed + failed} checks pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
