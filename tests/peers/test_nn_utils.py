"""Helpers over modules equal torch's: normalised weights, parametrizations, pruning, fused layers, other tensors."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import adjit

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")

LAYERS = {"Linear": ((4, 3), (2, 4)), "Conv2d": ((2, 3, 2), (1, 2, 4, 4)), "ConvTranspose1d": ((2, 3, 2), (1, 2, 4))}
WRAPPED = {
    "weight_norm": lambda lib, m: lib.nn.utils.weight_norm(m),
    "weight_norm whole": lambda lib, m: lib.nn.utils.weight_norm(m, dim=None),
    "spectral_norm": lambda lib, m: lib.nn.utils.spectral_norm(m),
    "parametrized weight_norm": lambda lib, m: lib.nn.utils.parametrizations.weight_norm(m, dim=1),
    "parametrized spectral_norm": lambda lib, m: lib.nn.utils.parametrizations.spectral_norm(m),
    "l1": lambda lib, m: lib.nn.utils.prune.l1_unstructured(m, "weight", 0.4),
    "ln": lambda lib, m: lib.nn.utils.prune.ln_structured(m, "weight", 1, n=2, dim=0),
    "l1 twice": lambda lib, m: lib.nn.utils.prune.ln_structured(
        lib.nn.utils.prune.l1_unstructured(m, "weight", 3), "weight", 1, n=1, dim=1
    ),
}


def same_state(mine: Any, theirs: Any) -> None:
    state = theirs.state_dict().items()
    mine.load_state_dict({key: adjit.tensor(value.detach().numpy().copy()) for key, value in state})


def close(mine: Any, theirs: Any) -> None:
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("wrap", WRAPPED)
def test_wrapped_weights(wrap: str, layer: str, compiled: bool) -> None:
    sizes, shape = LAYERS[layer]
    torch.manual_seed(0)
    mine, theirs = getattr(adjit.nn, layer)(*sizes), getattr(torch.nn, layer)(*sizes)
    same_state(mine, theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = WRAPPED[wrap](adjit, mine), WRAPPED[wrap](torch, theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert repr(mine) == repr(theirs)
    same_state(mine, theirs)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    run = adjit.compile(mine) if compiled else mine
    for _ in range(2):
        a, b = run(adjit.tensor(x)), theirs(torch.tensor(x))
        close(a, b)
        for module in (mine, theirs):
            module.zero_grad()
        a.sin().sum().backward()
        b.sin().sum().backward()
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            close(one.grad, other.grad)
        for one, other in zip(mine.buffers(), theirs.buffers(), strict=True):
            close(one, other)
    if "parametrized" in wrap:
        copied = copy.deepcopy(mine).eval()
        close(copied(adjit.tensor(x)), theirs.eval()(torch.tensor(x)))
        with pytest.raises(RuntimeError, match="Serialization of parametrized modules"):
            mine.__getstate__()
        for lib, module in ((adjit, mine.eval()), (torch, theirs)):
            lib.nn.utils.parametrize.remove_parametrizations(module, "weight")
    elif wrap.startswith("l"):
        for lib, module in ((adjit, mine), (torch, theirs)):
            lib.nn.utils.prune.remove(module, "weight")
    else:
        kind = wrap.split(" ")[0]
        for lib, module in ((adjit, mine), (torch, theirs)):
            getattr(lib.nn.utils, f"remove_{kind}")(module)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    close(mine.weight, theirs.weight)
    assert type(mine).__name__ == layer


class Symmetric:
    """A parametrization for either library."""

    @staticmethod
    def made(lib: Any) -> Any:
        class Made(lib.nn.Module):
            def forward(self, x: Any) -> Any:
                return x.triu() + x.triu(1).transpose(-1, -2)

            def right_inverse(self, x: Any) -> Any:
                return x.triu()

        return Made()


def test_parametrization_of_ones_own() -> None:
    layers = []
    for lib in (adjit, torch):
        layer = lib.nn.Linear(3, 3)
        layer.weight.data = lib.arange(9.0).reshape(3, 3)
        lib.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric.made(lib))
        layer.weight = lib.eye(3) + 2
        layers.append(layer)
    close(layers[0].weight, layers[1].weight)
    assert list(layers[0].state_dict()) == list(layers[1].state_dict())
    with adjit.nn.utils.parametrize.cached():
        assert layers[0].weight is layers[0].weight
    assert layers[0].weight is not layers[0].weight


@pytest.mark.parametrize("kind", ["conv", "transpose", "linear"])
def test_fusion(kind: str) -> None:
    torch.manual_seed(0)
    found = []
    x = np.random.default_rng(0).normal(size=(2, 2, 5)).astype(np.float32)
    first = {"conv": ("Conv1d", (2, 3, 2)), "transpose": ("ConvTranspose1d", (2, 3, 2)), "linear": ("Linear", (5, 2))}
    name, sizes = first[kind]
    theirs = torch.nn.Sequential(getattr(torch.nn, name)(*sizes), torch.nn.BatchNorm1d(sizes[1])).eval()
    with torch.no_grad():
        for tensor in (*theirs[1].parameters(), *theirs[1].buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 2)
    mine = adjit.nn.Sequential(getattr(adjit.nn, name)(*sizes), adjit.nn.BatchNorm1d(sizes[1])).eval()
    same_state(mine, theirs)
    for lib, module in ((adjit, mine), (torch, theirs)):
        utils = lib.nn.utils
        fused = (
            utils.fuse_linear_bn_eval(*module) if kind == "linear"
            else utils.fuse_conv_bn_eval(*module, transpose=kind == "transpose")
        )  # fmt: skip
        found.append(fused(lib.tensor(x)))
    close(found[0], found[1])


def test_other_tensors_in_the_place_of_parameters() -> None:
    mine = adjit.nn.Sequential(adjit.nn.Linear(2, 2), adjit.nn.Linear(2, 2))
    mine[1].weight = mine[0].weight
    x, other = adjit.randn(3, 2), adjit.randn(2, 2, requires_grad=True)
    call = adjit.func.functional_call
    found = call(mine, {"0.weight": other}, x)
    expected = (x @ other.t() + mine[0].bias) @ other.t() + mine[1].bias
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-5)
    found.sum().backward()
    assert other.grad is not None and mine[0].weight.grad is None
    with pytest.raises(ValueError, match="which are tied"):
        call(mine, {"0.weight": other, "1.weight": adjit.zeros(2, 2)}, x)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\)"):
        call(mine, {"0.weight": other}, x, strict=True)
