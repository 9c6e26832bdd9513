"""A sample of torch's operator database in both libraries: results, gradients, compiled functions and errors agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import adjit
from tests.peers.agreement import Different, as_numpy, compare
from tests.peers.bridge import Missing, Stand, Unsupported, call, exchanged, tensors_in
from tests.peers.bridge import ours as ours_of


@dataclass
class Case:
    """A sample in both libraries."""

    op: Any
    sample: Any
    dtype: torch.dtype
    random: bool

    def __post_init__(self) -> None:
        known: dict[int, Stand] = {}
        self.args = exchanged((self.sample.input, *self.sample.args), known)
        self.kwargs = exchanged(self.sample.kwargs, known)
        self.theirs = tensors_in([self.sample.input, self.sample.args, self.sample.kwargs], torch.Tensor)
        self.theirs = list({id(tensor): tensor for tensor in self.theirs}.values())
        self.stands = [known[id(tensor)] for tensor in self.theirs]

    def run_torch(self) -> Any:
        """Torch's result."""
        torch.manual_seed(0)
        found = self.op.op(self.sample.input, *self.sample.args, **self.sample.kwargs)
        return found

    def run_ours(self, args: Any = None, kwargs: Any = None) -> Any:
        """adjit's result."""
        adjit.manual_seed(0)
        return call(self.op.op, self.args if args is None else args, self.kwargs if kwargs is None else kwargs)

    def exact(self) -> Case | None:
        """The sample in float64; None where it is in float64 already or random."""
        narrow = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)
        if self.random or self.dtype not in narrow:
            return None
        target = torch.complex128 if self.dtype.is_complex else torch.float64

        def wide(value: Any) -> Any:
            if isinstance(value, torch.dtype):
                return target if value == self.dtype else value
            if value.dtype != self.dtype:
                return value
            return value.detach().to(target).requires_grad_(value.requires_grad)

        return Case(self.op, self.sample.transform(wide), target, False)

    def gradients(self, cotangents: list[torch.Tensor]) -> list[torch.Tensor | None]:
        """Torch's gradients."""
        outputs = tensors_in(self.process(self.run_torch()), torch.Tensor)
        wanted = [outputs[i] for i in _differentiable(outputs)]
        leaves = [tensor for tensor in self.theirs if tensor.requires_grad]
        given = [cotangent.to(output.dtype) for cotangent, output in zip(cotangents, wanted, strict=True)]
        return list(torch.autograd.grad(wanted, leaves, given, allow_unused=True))

    def process(self, value: Any) -> Any:
        """What of the result is differentiated."""
        return self.sample.output_process_fn_grad(value)


# Which of equal elements torch takes depends on its kernel: indices agree if they lead to the same values.  With the
# place of the argument `dim` behind the input.
ANY_OF_EQUALS = {"argsort": 0, "kthvalue": 1, "sort": 0, "topk": 1}
# Eigenvectors and singular vectors are fixed but for their signs: compared is what the database differentiates.
FREE_SIGNS = ("linalg.eigh", "linalg.svd", "svd")


def check_result(case: Case) -> None:
    """Results agree."""
    agree(case, case.run_ours(), case.run_torch(), "result")


def agree(case: Case, ours: Any, theirs: Any, where: str) -> None:
    """Raise Different unless the results agree; in narrow floats ours may be as far from the truth as torch's."""
    try:
        _agree(case, ours, theirs, where)
    except Different:
        exact = case.exact()
        if exact is None:
            raise
        _agree(case, ours, theirs, where, exact.run_torch())


def _agree(case: Case, ours: Any, theirs: Any, where: str, truth: Any = None) -> None:
    place = ANY_OF_EQUALS.get(case.op.name)
    if place is not None and case.sample.input.dim():
        given = case.sample.args[place : place + 1]
        dim = case.sample.kwargs.get("dim", given[0] if given else -1)
        ours, theirs = _led_to(ours, case.stands[0].tensor, dim), _led_to(theirs, case.sample.input, dim)
    if case.op.name in FREE_SIGNS:
        ours, theirs = case.process(tuple(ours)), case.process(tuple(theirs))
        truth = None if truth is None else case.process(tuple(truth))
    compare(ours, theirs, case.random, where, truth)


def _led_to(result: Any, input: Any, dim: int) -> Any:
    """The result with the elements that its indices lead to in their place."""
    if isinstance(result, (tuple, list)):
        return (*result[:-1], _led_to(result[-1], input, dim))
    index = result.tensor if isinstance(result, Stand) else result
    index = index.unsqueeze(dim) if index.dim() < input.dim() else index
    found = input.detach().gather(dim, index)
    return Stand(found) if isinstance(result, Stand) else found


def _cotangents(outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    wide = [torch.complex128 if o.is_complex() else torch.float64 for o in outputs]
    return [
        torch.randn(o.shape, generator=generator, dtype=d).to(o.dtype) for o, d in zip(outputs, wide, strict=True)
    ]


def _leaves(case: Case) -> list[tuple[Any, torch.Tensor]]:
    return [(o.tensor, t) for o, t in zip(case.stands, case.theirs, strict=True) if t.requires_grad]


def _differentiable(outputs: list[torch.Tensor]) -> list[int]:
    return [i for i, o in enumerate(outputs) if o.requires_grad and (o.is_floating_point() or o.is_complex())]


def check_gradient(case: Case, run: Callable[[], Any] | None = None, second: bool = False) -> bool:
    """Gradients (with `second` gradients of gradients too) agree; False if there is nothing to differentiate."""
    leaves = _leaves(case)
    if not leaves:
        return False
    theirs = tensors_in(case.process(case.run_torch()), torch.Tensor)
    wanted = _differentiable(theirs)
    if not wanted:
        return False
    ours = tensors_in(case.process((run or case.run_ours)()), Stand)
    cotangents = _cotangents([theirs[i] for i in wanted])
    right = torch.autograd.grad(
        [theirs[i] for i in wanted], [t for _, t in leaves], cotangents, allow_unused=True, create_graph=second
    )
    left = adjit.autograd.grad(
        [ours[i].tensor for i in wanted],
        [o for o, _ in leaves],
        [ours_of(c) for c in cotangents],
        allow_unused=True,
        create_graph=second,
    )
    try:
        _compare_gradients(left, right, "gradient")
    except Different:
        exact = case.exact()
        if exact is None:
            raise
        _compare_gradients(left, right, "gradient", exact.gradients(cotangents))
    if second:
        _check_second(left, right, leaves)
    return True


def _check_second(left: Any, right: Any, leaves: list[tuple[Any, torch.Tensor]]) -> None:
    wanted = [i for i, g in enumerate(right) if g is not None and g.requires_grad]
    if not wanted:
        return
    cotangents = _cotangents([right[i] for i in wanted])
    try:
        again = torch.autograd.grad([right[i] for i in wanted], [t for _, t in leaves], cotangents, allow_unused=True)
    except RuntimeError as error:
        if "is not implemented" in str(error) or "Expected a proper Tensor but got None" in str(error):
            return  # torch has no such derivative to compare with
        raise
    given = [(left[i], c) for i, c in zip(wanted, cotangents, strict=True) if left[i] is not None]
    given = [(g, c) for g, c in given if g.requires_grad]
    mine = [None] * len(leaves)
    if given:
        mine = adjit.autograd.grad(
            [g for g, _ in given],
            [o for o, _ in leaves],
            [adjit.from_numpy(c.numpy()) for _, c in given],
            allow_unused=True,
        )
    _compare_gradients(mine, again, "second gradient")


def _compare_gradients(left: Any, right: Any, where: str, truth: Any = None) -> None:
    """None and zeros are one: which of them is given depends on how a formula was written."""
    for index, (mine, theirs) in enumerate(zip(left, right, strict=True)):
        if mine is None and theirs is None:
            continue
        theirs = torch.zeros(tuple(mine.shape), dtype=_torch_dtype(mine)) if theirs is None else theirs
        mine = adjit.from_numpy(np.zeros_like(as_numpy(theirs))) if mine is None else mine
        if theirs.dtype is torch.bfloat16:
            mine = mine.to(adjit.bfloat16)
        compare(Stand(mine), theirs, False, f"{where} {index}", None if truth is None else truth[index])


def _torch_dtype(tensor: Any) -> torch.dtype:
    found = getattr(torch, str(tensor.dtype).removeprefix("torch."))
    assert isinstance(found, torch.dtype)
    return found


def check_compiled(case: Case) -> None:
    """The compiled function gives what eager gives, and its gradients torch's."""
    shape: list[Any] = []

    def traced(*tensors: Any) -> Any:
        places = {id(old): Stand(new) for old, new in zip(case.stands, tensors, strict=True)}
        result = case.run_ours(_replaced(case.args, places), _replaced(case.kwargs, places))
        shape[:] = [result]
        return [stand.tensor for stand in tensors_in(result, Stand)]

    compiled = adjit.compile(traced)
    tensors = [stand.tensor for stand in case.stands]
    found = compiled(*tensors)
    agree(case, [Stand(t) for t in found], tensors_in(case.run_torch(), torch.Tensor), "compiled")

    def run() -> Any:
        results = iter([Stand(t) for t in compiled(*tensors)])
        return _filled(shape[0], results)

    if not case.random and case.op.supports_autograd:
        check_gradient(case, run)


def _replaced(value: Any, places: dict[int, Stand]) -> Any:
    if isinstance(value, Stand):
        return places.get(id(value), value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_replaced(item, places) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(item, places) for item in value)
    if isinstance(value, dict):
        return {key: _replaced(item, places) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_replaced(item, places) for item in (value.start, value.stop, value.step)))
    return value


def _filled(value: Any, results: Iterator[Stand]) -> Any:
    if isinstance(value, Stand):
        return next(results)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_filled(item, results) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_filled(item, results) for item in value)
    return value


def check_error(op: Any, bad: Any) -> None:
    """A bad input raises torch's class with torch's text."""
    sample = bad.sample_input
    known: dict[int, Stand] = {}
    args = exchanged((sample.input, *sample.args), known)
    kwargs = exchanged(sample.kwargs, known)
    try:
        op.op(sample.input, *sample.args, **sample.kwargs)
    except Exception as error:
        expected = error
    else:
        return  # the database's note is out of date
    try:
        call(op.op, args, kwargs)
    except (Missing, Unsupported):
        raise
    except Exception as error:
        if not isinstance(error, type(expected)) and not isinstance(error, bad.error_type):
            raise Different(f"error: {type(error).__name__}: {error}; torch: {expected!r}") from error
        if not re.search(bad.error_regex, str(error)) and first_line(expected) not in str(error):
            raise Different(f"error text: {first_line(error)!r}; torch: {first_line(expected)!r}") from error
    else:
        raise Different(f"no error; torch: {type(expected).__name__}: {first_line(expected)}")


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error).splitlines() or [""])[0]
