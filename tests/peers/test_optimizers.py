"""Optimizers and schedules equal torch's: twenty steps of training, states, printed text, errors and warnings."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1, "foreach": True}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True, "fused": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    ("AdamW", {"fused": True, "betas": (0.8, 0.9)}),
    ("AdamW", {"amsgrad": True, "foreach": False}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adagrad", {"maximize": True, "eps": 1e-3}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"maximize": True, "alpha": 0.9}),
    ("Adadelta", {}),
    ("Adadelta", {"weight_decay": 0.1, "rho": 0.8, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1, "maximize": True, "betas": (0.8, 0.9)}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1, "lr": 0.01, "betas": (0.8, 0.99)}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"t0": 3, "weight_decay": 0.1, "lambd": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"maximize": True, "etas": (0.4, 1.1), "step_sizes": (1e-3, 0.1)}),
    ("Adafactor", {}),
    ("Adafactor", {"weight_decay": 0.1, "maximize": True, "eps": (1e-5, 1e-2), "d": 2.0}),
    ("LBFGS", {"line_search_fn": "strong_wolfe"}),
    ("LBFGS", {"lr": 0.5, "history_size": 3, "max_iter": 5}),
]


def train(lib: Any, name: str, options: dict[str, Any], dtype: str, compiled: bool) -> tuple[Any, list[Any], Any]:
    """Losses, parameters and optimizer after twenty steps on a small net."""
    rng = np.random.default_rng(0)
    w, b, x, y = (
        lib.tensor(rng.standard_normal(shape), dtype=getattr(lib, dtype)) for shape in [(3, 2), 2, (8, 3), (8, 2)]
    )
    params = [w.requires_grad_(), b.requires_grad_()]
    optimizer = getattr(lib.optim, name)(params, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((lib.tanh(x @ w + b) - y) ** 2).mean() * 2 + (w**4).sum() * 0.01
        loss.backward()
        return loss

    def step() -> Any:
        return optimizer.step(closure)

    run = adjit.compile(step) if compiled else step
    return [run().item() for _ in range(20)], params, optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{n}-{','.join(o)}" for n, o in OPTIONS])
def test_twenty_steps(name: str, options: dict[str, Any], compiled: bool, dtype: str) -> None:
    losses, params, optimizer = train(torch, name, options, dtype, False)
    own_losses, own_params, own = train(adjit, name, options, dtype, compiled)
    # A compiled search for a step computes distances in float64.
    bound = {"float32": 4e-6, "float64": 1e-11}[dtype] * ((200 if compiled else 50) if name == "LBFGS" else 1)
    np.testing.assert_allclose(own_losses, losses, rtol=bound, atol=bound)
    for mine, theirs in zip(own_params, params, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=bound, atol=bound)
    assert repr(own) == repr(optimizer)
    state, own_state = optimizer.state_dict(), own.state_dict()
    assert own_state["param_groups"] == state["param_groups"]
    assert [list(group) for group in own_state["param_groups"]] == [list(group) for group in state["param_groups"]]
    for number, values in state["state"].items():
        assert list(own_state["state"][number]) == list(values)
        for key, value in values.items():
            mine = own_state["state"][number][key]
            if isinstance(value, torch.Tensor) and key != "ro":
                assert (str(mine.dtype), tuple(mine.shape)) == (str(value.dtype), tuple(value.shape)), key


def test_muon_within_bfloat16() -> None:
    """Its iterations run in bfloat16, whose sums torch's kernels take in another order."""
    results = []
    for lib in (torch, adjit):
        w = lib.tensor(np.random.default_rng(0).standard_normal((3, 4)), dtype=lib.float32).requires_grad_()
        optimizer = lib.optim.Muon([w], lr=0.05)
        for _ in range(10):
            optimizer.zero_grad()
            (w**2 + lib.sin(w)).sum().backward()
            optimizer.step()
        results.append(w.detach().numpy())
    np.testing.assert_allclose(results[1], results[0], atol=3e-3)


def test_a_differentiable_step() -> None:
    """Gradients through the step, back to the learning rate's stand-in and the data."""
    results = []
    for lib in (torch, adjit):
        start = lib.tensor([1.0, -2.0, 0.5], dtype=lib.float64).requires_grad_()
        scale = lib.tensor(1.5, dtype=lib.float64).requires_grad_()
        param = start.clone()
        optimizer = lib.optim.Adam([param], lr=0.1, differentiable=True)
        param.grad = start**2 * scale
        optimizer.step()
        (param**2).sum().backward()
        results.append([start.grad.numpy(), scale.grad.numpy()])
    for mine, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5)  # torch counts steps in float32 here


SCHEDULES: dict[str, Any] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda e: 0.9**e),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "StepLR": lambda s, o: s.StepLR(o, 3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5]),
    "ConstantLR": lambda s, o: s.ConstantLR(o),
    "LinearLR": lambda s, o: s.LinearLR(o),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.8),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 4, 0.01),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, total_iters=3), s.ExponentialLR(o, 0.5), s.StepLR(o, 2)], [3, 7]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, total_iters=3), s.ExponentialLR(o, 0.5)]),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, 4),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9),
    "CyclicLR scale_fn": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda x: 1 / x, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=14),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(
        o, 0.5, epochs=2, steps_per_epoch=7, three_phase=True, anneal_strategy="linear"
    ),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 5, 2.0),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1, cooldown=1),
    "SWALR": lambda s, o: s.SWALR(o, 0.02, 5),
}
METRICS = [5, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3]


def plain(value: Any) -> Any:
    """Numbers, lists and dictionaries of what a schedule holds; functions as nothing."""
    if isinstance(value, (torch.Tensor, adjit.Tensor)):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return [(key, plain(item)) for key, item in value.items() if key not in ("params", "_scale_fn_ref")]
    return value


@pytest.mark.parametrize("tensor_rate", [False, True])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str, kind: str, tensor_rate: bool) -> None:
    """Rates, momenta and states of thirteen epochs, with two groups; then going on from the saved state."""
    results = []
    for lib in (torch, adjit):
        rate = lib.tensor(0.1) if tensor_rate else 0.1
        groups = [{"params": [lib.ones(2, requires_grad=True)]} for _ in range(2)]
        optimizer = getattr(lib.optim, kind)(groups, lr=rate, **({"momentum": 0.9} if kind == "SGD" else {}))
        module = lib.optim.swa_utils if name == "SWALR" else lib.optim.lr_scheduler
        scheduler = SCHEDULES[name](module, optimizer)
        found = []
        for metric in METRICS:
            optimizer.step()
            scheduler.step(*([metric] if name == "ReduceLROnPlateau" else []))
            found.append([plain(scheduler.get_last_lr()), plain(optimizer.param_groups)])
        state = scheduler.state_dict()
        found.append(sorted(str(item) for item in plain(state)))
        scheduler.load_state_dict(state)
        results.append(found)
    assert results[1] == results[0]


def raised(function: Any, lib: Any) -> str:
    """The class and first line of the error or warning that a call raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            function(lib, [lib.ones(2, requires_grad=True), lib.ones(3, requires_grad=True)])
        except Exception as error:
            kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
            return re.sub(r"0x[0-9a-f]+", "", f"{kind.__name__}: {str(error).splitlines()[0]}")
    return "nothing"


def early(lib: Any, params: Any) -> None:
    """A schedule stepped before the optimizer."""
    scheduler = lib.optim.lr_scheduler.StepLR(lib.optim.SGD(params, 0.1), 1)
    scheduler.step()


def chained(lib: Any, params: Any) -> None:
    """A schedule that cannot be one of several."""
    schedulers = lib.optim.lr_scheduler
    schedulers.ChainedScheduler([schedulers.ReduceLROnPlateau(lib.optim.SGD(params, 0.1))])


WRONG: list[Any] = [
    lambda t, p: t.optim.SGD([], lr=0.1),
    lambda t, p: t.optim.SGD(p[0], lr=0.1),
    lambda t, p: t.optim.SGD(p, lr=-1),
    lambda t, p: t.optim.SGD(p, lr=0.1, momentum=-0.5),
    lambda t, p: t.optim.SGD(p, lr=0.1, nesterov=True),
    lambda t, p: t.optim.SGD([*p, 1], lr=0.1),
    lambda t, p: t.optim.SGD(set(p), lr=0.1).add_param_group({"params": set(p)}),
    lambda t, p: t.optim.SGD([p[0] * 2], lr=0.1),
    lambda t, p: t.optim.SGD([p[0], p[0]], lr=0.1),
    lambda t, p: t.optim.SGD([{"params": p}, {"params": p[0]}], lr=0.1),
    lambda t, p: t.optim.SGD([("a", p[0]), p[1]], lr=0.1),
    lambda t, p: t.optim.SGD([("a", p[0])], lr=0.1).add_param_group({"params": p[1]}),
    lambda t, p: t.optim.SGD(p, lr=0.1).add_param_group([p[0]]),
    lambda t, p: t.optim.SGD(p, lr=t.ones(2)),
    lambda t, p: t.optim.SGD(p, lr=0.1, fused=True, foreach=True),
    lambda t, p: t.optim.SGD(p, lr=0.1, fused=True, differentiable=True),
    lambda t, p: t.optim.Adam(p, lr=-1),
    lambda t, p: t.optim.Adam(p, eps=-1),
    lambda t, p: t.optim.Adam(p, betas=(1.0, 0.9)),
    lambda t, p: t.optim.Adam(p, betas=(0.9, -0.1)),
    lambda t, p: t.optim.Adam(p, weight_decay=-1),
    lambda t, p: t.optim.Adam(p, lr=t.tensor(0.1), foreach=True),
    lambda t, p: t.optim.Adadelta(p, rho=2),
    lambda t, p: t.optim.NAdam(p, momentum_decay=-1),
    lambda t, p: t.optim.RMSprop(p, alpha=-1),
    lambda t, p: t.optim.Rprop(p, etas=(0.5, 0.9)),
    lambda t, p: t.optim.Adafactor(p, d=0.5),
    lambda t, p: t.optim.Muon(p),
    lambda t, p: t.optim.LBFGS([{"params": p[0]}, {"params": p[1]}]),
    lambda t, p: t.optim.SparseAdam(p, lr=0),
    lambda t, p: t.optim.SGD(p, lr=0.1).load_state_dict({"state": {}, "param_groups": []}),
    lambda t, p: t.optim.SGD(p, lr=0.1).load_state_dict({"state": {}, "param_groups": [{"params": [0]}]}),
    lambda t, p: t.optim.lr_scheduler.StepLR(p, 1),
    lambda t, p: t.optim.lr_scheduler.StepLR(t.optim.SGD(p, 0.1), 1, last_epoch=3),
    lambda t, p: t.optim.lr_scheduler.LambdaLR(t.optim.SGD(p, 0.1), [lambda e: 1, lambda e: 1]),
    lambda t, p: t.optim.lr_scheduler.MultiplicativeLR(t.optim.SGD(p, 0.1), 3),
    lambda t, p: t.optim.lr_scheduler.StepLR(t.optim.SGD(p, 0.1), 1).get_lr(),
    lambda t, p: t.optim.lr_scheduler.ConstantLR(t.optim.SGD(p, 0.1), 2.0),
    lambda t, p: t.optim.lr_scheduler.ChainedScheduler([]),
    lambda t, p: t.optim.lr_scheduler.SequentialLR(t.optim.SGD(p, 0.1), [], []),
    lambda t, p: t.optim.lr_scheduler.CyclicLR(t.optim.SGD(p, 0.1), [0.1, 0.2], 0.3),
    lambda t, p: t.optim.lr_scheduler.CyclicLR(t.optim.Adadelta(p, 0.1), 0.1, 0.3),
    lambda t, p: t.optim.lr_scheduler.OneCycleLR(t.optim.SGD(p, 0.1), 0.1),
    lambda t, p: t.optim.lr_scheduler.OneCycleLR(t.optim.SGD(p, 0.1), 0.1, total_steps=-1),
    lambda t, p: t.optim.lr_scheduler.ReduceLROnPlateau(t.optim.SGD(p, 0.1), factor=1.5),
    lambda t, p: t.optim.lr_scheduler.ReduceLROnPlateau(t.optim.SGD(p, 0.1), "up"),
    lambda t, p: t.optim.swa_utils.SWALR(t.optim.SGD(p, 0.1), 0.1, -1),
    lambda t, p: t.optim.swa_utils.get_ema_avg_fn(2.0),
    early,
    chained,
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_and_warnings(number: int) -> None:
    expected = raised(WRONG[number], torch)
    assert expected != "nothing"
    assert raised(WRONG[number], adjit) == expected


def test_a_state_moves_from_torch() -> None:
    """A torch optimizer's state, loaded, goes on with torch's numbers."""
    results = []
    theirs = torch.optim.NAdam([torch.ones(3, requires_grad=True)], lr=0.1)
    theirs.param_groups[0]["params"][0].grad = torch.arange(3.0)
    theirs.step()
    state = theirs.state_dict()
    converted = {
        "state": {0: {key: adjit.tensor(value.numpy()) for key, value in state["state"][0].items()}},
        "param_groups": state["param_groups"],
    }
    for lib, saved in ((torch, state), (adjit, converted)):
        param = lib.ones(3, requires_grad=True)
        optimizer = lib.optim.NAdam([param], lr=0.5)
        optimizer.load_state_dict(saved)
        param.grad = lib.arange(3.0) - 1
        optimizer.step()
        results.append(param.detach().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_averaged_model_and_its_batch_norm() -> None:
    results = []
    for lib in (torch, adjit):
        nn = lib.nn
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        with lib.no_grad():
            for index, param in enumerate(model.parameters()):
                param.copy_(lib.arange(param.numel()).reshape(param.shape) * 0.1 + index)
        averaged = lib.optim.swa_utils.AveragedModel(model)
        moving = lib.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=lib.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
        )
        data = [lib.arange(12.0).reshape(4, 3) * (k + 1) for k in range(3)]
        for batch in data:
            model(batch)
            with lib.no_grad():
                for param in model.parameters():
                    param.add_(0.5)
            averaged.update_parameters(model)
            moving.update_parameters(model)
        lib.optim.swa_utils.update_bn(data, averaged)
        state = {**averaged.state_dict(), **{f"moving.{k}": v for k, v in moving.state_dict().items()}}
        results.append({key: value.numpy() for key, value in state.items()})
    assert list(results[1]) == list(results[0])
    for key, theirs in results[0].items():
        np.testing.assert_allclose(results[1][key], theirs, rtol=1e-5, err_msg=key)
