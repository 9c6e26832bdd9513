"""adjit's layers against torch's: `python -m tests.peers.layers [--names LSTM,Conv2d] [--compiled] [--limit N] [-v]`.

The cases are torch's own database of modules and the table `CASES` below.  For each, both libraries build the layer;
names, shapes and printed text of the two must be equal; then, with torch's weights in both, outputs, buffers and all
gradients must agree, in training and in evaluation, eager and compiled, and bad inputs must raise the same error.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_modules import ModuleInput, module_db

import adjit
from tests.peers.layer_cases import CASES

# Layers whose result is random in training.
RANDOM = re.compile(r"Dropout|RReLU|FractionalMaxPool")


class Different(AssertionError):
    """The two libraries disagree."""


def ours(value: Any) -> Any:
    """A value of torch's as adjit has it."""
    if isinstance(value, torch.Tensor):
        if value.is_complex():
            raise NotImplementedError("complex numbers")
        made = adjit.tensor(value.detach().contiguous().numpy().copy())
        return made.requires_grad_(value.requires_grad) if value.is_floating_point() else made
    if isinstance(value, torch.dtype):
        return getattr(adjit, str(value).removeprefix("torch."))
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        from adjit.nn.utils.rnn import PackedSequence

        return PackedSequence(*(None if part is None else ours(part) for part in value))
    if isinstance(value, torch.nn.Module):
        return same_layer(value)
    if isinstance(value, (list, tuple)):
        return type(value)(ours(item) for item in value)
    if isinstance(value, dict):
        return {key: ours(item) for key, item in value.items() if key != "device"}
    if callable(value) and getattr(value, "__module__", "").startswith("torch"):
        return getattr(adjit.nn.functional, value.__name__, None) or getattr(adjit, value.__name__)
    return value


def same_layer(layer: torch.nn.Module) -> Any:
    """adjit's layer for one that is an argument of another."""
    made = getattr(adjit.nn, type(layer).__name__)
    if not isinstance(layer, torch.nn.TransformerEncoderLayer):
        return made()
    own = layer.self_attn
    return made(
        own.embed_dim, own.num_heads, layer.linear1.out_features, layer.dropout.p, ours(layer.activation),
        layer.norm1.eps, own.batch_first, layer.norm_first, layer.linear1.bias is not None,
    )  # fmt: skip


def fresh(value: Any) -> Any:
    """The same inputs, tensors as leaves of their own."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (list, tuple):
        return type(value)(fresh(item) for item in value)
    return {key: fresh(item) for key, item in value.items()} if isinstance(value, dict) else value


def tensors(value: Any) -> list[Any]:
    """All tensors in nested results."""
    if isinstance(value, (torch.Tensor, adjit.Tensor)):
        return [value]
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in tensors(part)]
    return []


def agree(mine: Any, theirs: Any, where: str, slack: float = 1.0) -> None:
    """Raise Different unless two tensors agree; sums of many terms are given some slack."""
    if mine is None or theirs is None:
        if (mine is None) != (theirs is None):
            raise Different(f"{where}: {mine} and {theirs}")
        return
    if tuple(mine.shape) != tuple(theirs.shape) or str(mine.dtype) != str(theirs.dtype):
        raise Different(f"{where}: {mine.dtype}{list(mine.shape)}, torch has {theirs.dtype}{list(theirs.shape)}")
    a, b = mine.detach().numpy(), theirs.detach().numpy()
    relative, absolute = (1e-9, 1e-9) if theirs.dtype is torch.float64 else (1e-4, 1e-5)
    if not np.allclose(a, b, relative, absolute * slack, equal_nan=True):
        raise Different(f"{where}: off by {np.nanmax(np.abs(a.astype(float) - b)):.3g}\n{a}\n{b}")


def build(name: str, given: Any) -> tuple[Any, Any]:
    """The layer in both libraries, with torch's weights in both; names, shapes and text must be equal."""
    kwargs = {key: value for key, value in given.kwargs.items() if key != "device"}
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*given.args, **kwargs)
    mine = getattr(adjit.nn, name)(*ours(given.args), **ours(kwargs))
    a, b = mine.state_dict(), theirs.state_dict()
    if list(a) != list(b):
        raise Different(f"state: {list(a)}, torch has {list(b)}")
    if repr(mine) != repr(theirs):
        raise Different(f"text: {mine!r}, torch has {theirs!r}")
    for key, value in b.items():
        if tuple(a[key].shape) != tuple(value.shape) or str(a[key].dtype) != str(value.dtype):
            raise Different(f"{key}: {a[key].dtype}{list(a[key].shape)}, torch has {value.dtype}{list(value.shape)}")
    mine.load_state_dict({key: ours(value) for key, value in b.items()})
    return mine, theirs


def differentiable(values: list[Any]) -> list[Any]:
    return [value for value in values if value.requires_grad]


def run(name: str, given: Any, training: bool, compiled: bool) -> None:
    """One case: outputs, buffers and gradients."""
    mine, theirs = build(name, given.constructor_input)
    mine.train(training)
    theirs.train(training)
    args, kwargs = fresh(given.forward_input.args), fresh(given.forward_input.kwargs)
    own_args, own_kwargs = ours(args), ours(kwargs)
    try:
        expected = theirs(*args, **kwargs)
    except Exception:
        return  # torch has no result to compare with
    found = (adjit.compile(mine) if compiled else mine)(*own_args, **own_kwargs)
    a, b = tensors(found), tensors(expected)
    if len(a) != len(b):
        raise Different(f"{len(a)} results, torch has {len(b)}")
    if training and (RANDOM.search(name) or getattr(theirs, "dropout", 0)):
        for one, other in zip(a, b, strict=True):
            if tuple(one.shape) != tuple(other.shape):
                raise Different(f"shape {list(one.shape)}, torch has {list(other.shape)}")
        return
    for index, (one, other) in enumerate(zip(a, b, strict=True)):
        agree(one, other, f"result {index}")
        if one.requires_grad != other.requires_grad:
            raise Different(f"result {index}: requires_grad {one.requires_grad}, torch has {other.requires_grad}")
    for (key, one), other in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
        agree(one, other, f"state {key}")
    a, b = differentiable(a), differentiable(b)
    if not b:
        return
    cotangents = [torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape) for out in b]
    leaves = [*differentiable(tensors([*args, *kwargs.values()])), *differentiable(list(theirs.parameters()))]
    own = [*differentiable(tensors([*own_args, *own_kwargs.values()])), *differentiable(list(mine.parameters()))]
    for leaf in leaves:
        leaf.grad = None
    torch.autograd.backward(b, cotangents)
    adjit.autograd.backward(a, [ours(cotangent) for cotangent in cotangents])
    for index, (one, other) in enumerate(zip(own, leaves, strict=True)):
        agree(one.grad, other.grad, f"gradient {index}", slack=10)


def cases(dtype: torch.dtype = torch.float32) -> Iterator[tuple[str, bool, Any]]:
    """Layer name, mode and inputs: torch's database, then the table."""
    for info in module_db:
        name = info.module_cls.__name__
        if getattr(torch.nn, name, None) is not info.module_cls or name.startswith("Lazy"):
            continue
        for training in (True, False):
            torch.manual_seed(1)
            with contextlib.suppress(NotImplementedError):
                for given in info.module_inputs_func(
                    info, device="cpu", dtype=dtype, requires_grad=True, training=training
                ):
                    yield name, training, given
    for name, constructor, forward in CASES:
        for training in (True, False):
            torch.manual_seed(1)
            yield name, training, ModuleInput(constructor, forward())


def bad_inputs(dtype: torch.dtype = torch.float32) -> Iterator[tuple[str, Any]]:
    """The database's inputs that must raise."""
    for info in module_db:
        name = info.module_cls.__name__
        if info.module_error_inputs_func is None or not hasattr(torch.nn, name):
            continue
        for given in info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=True):
            yield name, given


def check_error(name: str, given: Any) -> None:
    """The same class and first line as torch's error."""
    raised = []
    for library in (torch, adjit):
        change = ours if library is adjit else (lambda value: value)
        made, fed = given.module_error_input.constructor_input, given.module_error_input.forward_input
        kwargs = {key: value for key, value in made.kwargs.items() if key != "device"}
        try:
            layer = getattr(library.nn, name)(*change(made.args), **change(kwargs))
            if fed is not None:
                layer(*change(fed.args), **change(fed.kwargs))
            raised.append("nothing")
        except Exception as error:
            kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
            raised.append(f"{kind.__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    if raised[0] != raised[1]:
        raise Different(f"{raised[1]}\n  torch: {raised[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", default="*")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--limit", type=int, help="the first cases of each layer only")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    patterns = options.names.split(",")
    warnings.simplefilter("ignore")
    passed: Counter[str] = Counter()
    failed: dict[str, list[str]] = {}

    def attempt(name: str, what: str, function: Any, *args: Any) -> None:
        try:
            function(*args)
            passed[name] += 1
        except NotImplementedError as error:
            if "complex numbers" not in str(error):
                failed.setdefault(name, []).append(f"{what}: {error!r}")
        except Exception as error:
            failed.setdefault(name, []).append(f"{what}: {type(error).__name__}: {error}")

    def wanted(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    tried: Counter[str] = Counter()
    for name, training, given in cases():
        tried[name] += 1
        if wanted(name) and (options.limit is None or tried[name] <= options.limit):
            made = given.constructor_input
            named = {key: value for key, value in made.kwargs.items() if key not in ("device", "dtype")}
            what = f"{'train' if training else 'eval'} {made.args} {named}"
            attempt(name, what, run, name, given, training, options.compiled)
    if options.errors:
        for name, bad in bad_inputs():
            if wanted(name):
                attempt(name, "error", check_error, name, bad)
    for name, messages in sorted(failed.items()):
        print(f"{name}: {passed[name]} passed, {len(messages)} failed")
        for message in messages[: None if options.v else 2]:
            print("   ", message.replace("\n", "\n      ")[: 3000 if options.v else 400])
    right = [name for name in passed if name not in failed]
    print(f"{len(right)} layers pass ({sum(passed.values())} cases), {len(failed)} fail")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
