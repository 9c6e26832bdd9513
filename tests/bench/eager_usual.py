"""Usual calls on small operands, of which the eager benchmark tells what a call costs beside PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

# Of a library and its operands, an instance of `Data` in tests/bench/eager.py.
Operation = Callable[[Any, Any], object]


def _trained(t: Any, d: Any, kind: str) -> object:
    """A step of an optimizer on parameters that keep their gradients; the optimizer is made at the first call."""
    made = vars(d).setdefault("optimizers", {})
    if kind not in made:
        weights = [t.nn.Parameter(d.table.clone()), t.nn.Parameter(d.x.clone())]
        for weight in weights:
            weight.grad = t.ones_like(weight)
        made[kind] = getattr(t.optim, kind)(weights, lr=1e-3)
    return made[kind].step()


def _kept(d: Any, name: str, make: Callable[[], Any]) -> Any:
    """What is made once for the data."""
    made = vars(d).setdefault("made", {})
    if name not in made:
        made[name] = make()
    return made[name]


def _model(t: Any, d: Any) -> Any:
    return _kept(d, "model", lambda: t.nn.Sequential(t.nn.Linear(10, 8), t.nn.ReLU(), t.nn.Linear(8, 10)))


def _state(t: Any, d: Any) -> Any:
    return _kept(d, "state", lambda: _model(t, d).state_dict())


def _with_gradients(t: Any, d: Any) -> Any:
    model = _model(t, d)
    for weight in model.parameters():
        weight.grad = _kept(d, str(tuple(weight.shape)), lambda weight=weight: t.ones_like(weight))
    return model


def _loaded(t: Any, d: Any) -> object:
    data = t.utils.data
    rows = _kept(d, "rows", lambda: data.TensorDataset(d.table[:32], d.labels[:32]))
    return list(_kept(d, "loader", lambda: data.DataLoader(rows, batch_size=4)))


def _backward(t: Any, d: Any, call: Callable[[], Any]) -> None:
    d.leaf_table.grad = d.leaf.grad = None
    call().sum().backward()


ASKING: dict[str, Operation] = {
    "size()": lambda t, d: d.table.size(),
    "size(0)": lambda t, d: d.table.size(0),
    "shape[0]": lambda t, d: d.table.shape[0],
    "dim()": lambda t, d: d.table.dim(),
    "ndim": lambda t, d: d.table.ndim,
    "numel()": lambda t, d: d.table.numel(),
    "len": lambda t, d: len(d.table),
    "dtype": lambda t, d: d.table.dtype,
    "device": lambda t, d: d.table.device,
    "requires_grad": lambda t, d: d.leaf.requires_grad,
    "is_leaf": lambda t, d: d.leaf.is_leaf,
    "grad": lambda t, d: d.leaf.grad,
    "grad_fn of a leaf": lambda t, d: d.leaf.grad_fn,
    "grad_fn": lambda t, d: _kept(d, "result", lambda: d.leaf * 2).grad_fn,
    "data": lambda t, d: d.leaf.data,
    "stride()": lambda t, d: d.table.stride(),
    "stride(0)": lambda t, d: d.table.stride(0),
    "storage_offset()": lambda t, d: d.table.storage_offset(),
    "data_ptr()": lambda t, d: d.table.data_ptr(),
    "is_contiguous()": lambda t, d: d.table.is_contiguous(),
    "element_size()": lambda t, d: d.table.element_size(),
    "is_floating_point()": lambda t, d: d.table.is_floating_point(),
    "torch.is_tensor": lambda t, d: t.is_tensor(d.table),
    "_version": lambda t, d: d.table._version,
    "numpy()": lambda t, d: d.table.numpy(),
    "detach().numpy()": lambda t, d: d.leaf.detach().numpy(),
    "detach().cpu().numpy()": lambda t, d: d.leaf.detach().cpu().numpy(),
    "float(x)": lambda t, d: float(d.one),
    "int(x)": lambda t, d: int(d.one),
    "bool(x)": lambda t, d: bool(d.one),
    "x[3].item()": lambda t, d: d.x[3].item(),
    "tolist of all": lambda t, d: d.x.tolist(),
    "all().item()": lambda t, d: d.mask.all().item(),
    "allclose": lambda t, d: t.allclose(d.x, d.x),
    "accuracy": lambda t, d: (d.table.argmax(1) == d.labels).float().mean().item(),
    "count correct": lambda t, d: (d.table.argmax(dim=1) == d.labels).sum().item(),
    "iterate": lambda t, d: [*d.table[:3]],
    "zip": lambda t, d: [*zip(d.table[:3], d.labels[:3], strict=True)],
    "isnan().any()": lambda t, d: t.isnan(d.x).any(),
    "str": lambda t, d: str(d.one),
    "hash": lambda t, d: hash(d.x),
}
SHAPING: dict[str, Operation] = {
    "as_strided": lambda t, d: d.x.as_strided((2, 3), (3, 1)),
    "as_strided at an offset": lambda t, d: d.x.as_strided((2, 3), (1, 1), 2),
    "view": lambda t, d: d.x.view(-1, 5),
    "reshape": lambda t, d: d.x.reshape(5, -1),
    "flatten": lambda t, d: d.table.flatten(),
    "t": lambda t, d: d.table.t(),
    "T": lambda t, d: d.table.T,
    "transpose": lambda t, d: d.table.transpose(0, 1),
    "permute": lambda t, d: d.table.permute(1, 0),
    "unsqueeze": lambda t, d: d.x.unsqueeze(0),
    "squeeze": lambda t, d: d.row.squeeze(),
    "expand": lambda t, d: d.row.expand(3, 256),
    "expand_as": lambda t, d: d.x.expand_as(d.y),
    "repeat": lambda t, d: d.x.repeat(2),
    "chunk": lambda t, d: d.x.chunk(2),
    "split": lambda t, d: d.x.split(5),
    "unbind": lambda t, d: d.table[:3].unbind(0),
    "narrow": lambda t, d: d.x.narrow(0, 1, 3),
    "contiguous": lambda t, d: d.x.contiguous(),
    "contiguous of t()": lambda t, d: d.table.t().contiguous(),
    "diagonal": lambda t, d: d.weight.diagonal(),
    "flip": lambda t, d: d.x.flip(0),
    "roll": lambda t, d: d.x.roll(1),
    "cat": lambda t, d: t.cat([d.x, d.y]),
    "cat of matrices": lambda t, d: t.cat((d.table, d.table), dim=1),
    "stack": lambda t, d: t.stack([d.x, d.y]),
    "x[:, 0]": lambda t, d: d.table[:, 0],
    "x[0, 1]": lambda t, d: d.table[0, 1],
    "x[3]": lambda t, d: d.x[3],
    "x[-1]": lambda t, d: d.x[-1],
    "x[1:3]": lambda t, d: d.x[1:3],
    "x[None]": lambda t, d: d.x[None],
    "x[..., None]": lambda t, d: d.x[..., None],
    "x[::2]": lambda t, d: d.x[::2],
    "tril": lambda t, d: d.square.tril(),
    "meshgrid": lambda t, d: t.meshgrid(d.x, d.y, indexing="ij") if d.count < 100 else None,
    "pad": lambda t, d: t.nn.functional.pad(d.x, (1, 1)),
    "to(channels_last)": lambda t, d: _kept(d, "image", lambda: t.zeros(1, 3, 4, 4)).to(
        memory_format=t.channels_last
    ),
    "to(float64)": lambda t, d: d.x.to(t.float64),
    "to(device)": lambda t, d: d.x.to("cpu"),
    "float()": lambda t, d: d.x.float(),
    "long()": lambda t, d: d.x.long(),
    "double()": lambda t, d: d.x.double(),
    "type(dtype)": lambda t, d: d.x.type(t.float64),
    "clone": lambda t, d: d.x.clone(),
    "detach": lambda t, d: d.x.detach(),
    "detach().clone()": lambda t, d: d.leaf.detach().clone(),
    "clone().detach()": lambda t, d: d.leaf.clone().detach(),
    "detach().requires_grad_()": lambda t, d: d.x.detach().requires_grad_(),
    "cpu()": lambda t, d: d.x.cpu(),
    "deepcopy": lambda t, d: copy.deepcopy(d.x),
    "deepcopy of a parameter": lambda t, d: copy.deepcopy(_model(t, d)[0].weight),
    "x[0] = 1": lambda t, d: d.target.__setitem__(0, 1.0),
    "x[1:3] = y": lambda t, d: d.target.__setitem__(slice(1, 3), d.y[1:3]),
    "x[table of places] = 0": lambda t, d: d.target.__setitem__(d.places, 0.0),
    "x[places] += 1": lambda t, d: d.target.__setitem__(d.places, d.target[d.places] + 1),
    "x[i, j] = y": lambda t, d: d.square.__setitem__((0, 1), 1.0),
    "table[rows] = 0": lambda t, d: _kept(d, "copy", d.table.clone).__setitem__(d.rows, 0.0),
    "table[:, places] = y": lambda t, d: _kept(d, "copy", d.table.clone).__setitem__(
        (slice(None), d.labels[:2]), 0.5
    ),
    "table[rows, labels] = 1": lambda t, d: _kept(d, "copy", d.table.clone).__setitem__((d.rows, d.labels), 1.0),
    "x[x < 0] = 0": lambda t, d: d.target.__setitem__(d.target < 0, 0.0),
    "x[mask] = y[mask]": lambda t, d: d.target.__setitem__(d.mask, d.y[d.mask]),
    "x[[0, 1]] = 0": lambda t, d: d.target.__setitem__([0, 1], 0.0),
}
COMPUTING: dict[str, Operation] = {
    "add": lambda t, d: d.x + d.y,
    "add number": lambda t, d: d.x + 1.5,
    "number - x": lambda t, d: 1 - d.x,
    "x / number": lambda t, d: d.x / 3,
    "pow": lambda t, d: d.x**2,
    "neg": lambda t, d: -d.x,
    "x += y": lambda t, d: d.target.__iadd__(d.y),
    "add_ alpha": lambda t, d: d.target.add_(d.y, alpha=0.1),
    "mul_": lambda t, d: d.target.mul_(0.99),
    "lerp": lambda t, d: t.lerp(d.x, d.y, 0.5),
    "addcmul": lambda t, d: t.addcmul(d.x, d.y, d.y, value=0.5),
    "eq": lambda t, d: d.integers == 3,
    "logical and": lambda t, d: d.mask & d.mask,
    "exp": lambda t, d: d.x.exp(),
    "log": lambda t, d: d.share.log(),
    "sqrt": lambda t, d: d.share.sqrt(),
    "sigmoid": lambda t, d: t.sigmoid(d.x),
    "tanh": lambda t, d: t.tanh(d.x),
    "relu": lambda t, d: t.relu(d.x),
    "gelu": lambda t, d: t.nn.functional.gelu(d.x),
    "softmax": lambda t, d: d.x.softmax(0),
    "log_softmax": lambda t, d: t.nn.functional.log_softmax(d.table, dim=-1),
    "abs": lambda t, d: d.x.abs(),
    "clamp": lambda t, d: d.x.clamp(0, 1),
    "clamp min": lambda t, d: t.clamp(d.x, min=0.0),
    "round": lambda t, d: d.x.round(),
    "sum": lambda t, d: d.x.sum(),
    "sum of an axis": lambda t, d: d.table.sum(1),
    "sum keepdim": lambda t, d: d.table.sum(dim=1, keepdim=True),
    "mean": lambda t, d: d.x.mean(),
    "mean of axes": lambda t, d: d.table.mean((0, 1)),
    "std": lambda t, d: d.x.std(),
    "var": lambda t, d: d.x.var(unbiased=False),
    "max": lambda t, d: d.x.max(),
    "max of an axis": lambda t, d: d.table.max(1),
    "min": lambda t, d: d.x.min(),
    "amax": lambda t, d: d.table.amax(1),
    "argmax": lambda t, d: d.x.argmax(),
    "argmax of an axis": lambda t, d: d.table.argmax(dim=1),
    "any": lambda t, d: d.mask.any(),
    "all": lambda t, d: t.all(d.mask),
    "prod": lambda t, d: d.x.prod(),
    "norm": lambda t, d: d.x.norm(),
    "linalg.norm": lambda t, d: t.linalg.norm(d.x),
    "argsort": lambda t, d: d.x.argsort(),
    "sort descending": lambda t, d: d.x.sort(descending=True),
    "topk of rows": lambda t, d: d.table.topk(3, dim=1),
    "kthvalue": lambda t, d: d.x.kthvalue(3),
    "median": lambda t, d: d.x.median(),
    "logsumexp": lambda t, d: d.table.logsumexp(1),
    "matmul 3x3": lambda t, d: _kept(d, "3x3", lambda: d.table[:3, :3].clone()) @ d.made["3x3"],
    "mm": lambda t, d: d.table[:3] @ d.table[:3].T,
    "bmm": lambda t, d: t.bmm(d.table[None, :3, :3], d.table[None, :3, :3]),
    "dot": lambda t, d: d.x.dot(d.y),
    "mv": lambda t, d: d.table.mv(d.x[:10]),
    "outer": lambda t, d: t.outer(d.x[:10], d.y[:10]),
    "einsum": lambda t, d: t.einsum("ij,kj->ik", d.table[:3], d.table[:3]),
    "linear": lambda t, d: t.nn.functional.linear(d.table[:3], d.table[:3]),
    "index_select": lambda t, d: d.table.index_select(0, d.rows),
    "scatter_": lambda t, d: _kept(d, "zeros", lambda: t.zeros_like(d.table)).scatter_(1, d.labels[:, None], 1.0),
    "scatter_add_": lambda t, d: d.target.scatter_add_(0, d.places, d.y),
    "index_add_": lambda t, d: d.target.index_add_(0, d.places, d.y),
    "masked_fill": lambda t, d: d.x.masked_fill(d.mask, 0.0),
    "take_along_dim": lambda t, d: t.take_along_dim(d.table, d.labels[:, None], 1),
    "one_hot": lambda t, d: t.nn.functional.one_hot(d.labels, 10),
    "embedding": lambda t, d: t.nn.functional.embedding(d.rows, d.table),
    "isin": lambda t, d: t.isin(d.integers, d.integers[:3]),
    "searchsorted": lambda t, d: t.searchsorted(d.x, d.y),
    "bucketize": lambda t, d: t.bucketize(d.y, d.x),
    "mse_loss": lambda t, d: t.nn.functional.mse_loss(d.x, d.y),
    "cross_entropy": lambda t, d: t.nn.functional.cross_entropy(d.table, d.labels),
    "nll_loss": lambda t, d: t.nn.functional.nll_loss(d.table, d.labels),
    "binary_cross_entropy_with_logits": lambda t, d: t.nn.functional.binary_cross_entropy_with_logits(d.x, d.share),
    "layer_norm": lambda t, d: t.nn.functional.layer_norm(d.table, (10,)),
    "dropout": lambda t, d: t.nn.functional.dropout(d.x, 0.5),
    "conv2d": lambda t, d: t.nn.functional.conv2d(
        _kept(d, "picture", lambda: t.ones(1, 1, 8, 8)), _kept(d, "filters", lambda: t.ones(2, 1, 3, 3))
    ),
    "max_pool2d": lambda t, d: t.nn.functional.max_pool2d(_kept(d, "picture", lambda: t.ones(1, 1, 8, 8)), 2),
    "recorded add": lambda t, d: d.leaf + d.y,
    "recorded x[3]": lambda t, d: d.leaf[3],
    "recorded x[1:3]": lambda t, d: d.leaf[1:3],
    "recorded table[:, 0]": lambda t, d: d.leaf_table[:, 0],
    "recorded stack": lambda t, d: t.stack([d.leaf, d.leaf]),
    "recorded cat": lambda t, d: t.cat([d.leaf, d.leaf]),
    "recorded matmul": lambda t, d: d.leaf_table[:3] @ d.table[:3].T,
    "recorded sum": lambda t, d: d.leaf.sum(),
    "recorded cross_entropy": lambda t, d: t.nn.functional.cross_entropy(d.leaf_table, d.labels),
    "recorded max of an axis": lambda t, d: d.leaf_table.max(1),
    "recorded sort": lambda t, d: d.leaf.sort(),
    "recorded einsum": lambda t, d: t.einsum("ij,kj->ik", d.leaf_table[:3], d.leaf_table[:3]),
    "recorded unbind": lambda t, d: d.leaf_table[:3].unbind(0),
    "recorded split": lambda t, d: d.leaf.split(5),
    "recorded layer_norm": lambda t, d: t.nn.functional.layer_norm(d.leaf_table, (10,)),
}
BACKWARD: dict[str, Operation] = {
    "backward of mul": lambda t, d: _backward(t, d, lambda: d.leaf * d.y),
    "backward of x[3]": lambda t, d: _backward(t, d, lambda: d.leaf[3]),
    "backward of x[1:3]": lambda t, d: _backward(t, d, lambda: d.leaf[1:3]),
    "backward of x[mask]": lambda t, d: _backward(t, d, lambda: d.leaf[d.mask]),
    "backward of x[places]": lambda t, d: _backward(t, d, lambda: d.leaf[d.places]),
    "backward of stack": lambda t, d: _backward(t, d, lambda: t.stack([d.leaf, d.leaf])),
    "backward of cat": lambda t, d: _backward(t, d, lambda: t.cat([d.leaf, d.leaf])),
    "backward of softmax": lambda t, d: _backward(t, d, lambda: d.leaf_table.softmax(1)),
    "backward of cross_entropy": lambda t, d: _backward(
        t, d, lambda: t.nn.functional.cross_entropy(d.leaf_table, d.labels)
    ),
    "backward of max": lambda t, d: _backward(t, d, lambda: d.leaf_table.max(1).values),
    "backward of sort": lambda t, d: _backward(t, d, lambda: d.leaf.sort().values),
    "backward of norm": lambda t, d: _backward(t, d, lambda: d.leaf.norm()),
    "backward of linear": lambda t, d: _backward(
        t, d, lambda: t.nn.functional.linear(d.leaf_table[:3], d.table[:3])
    ),
    "backward of gather": lambda t, d: _backward(t, d, lambda: d.leaf_table.gather(1, d.labels[:, None])),
    "backward of cumsum": lambda t, d: _backward(t, d, lambda: d.leaf.cumsum(0)),
    "backward of layer_norm": lambda t, d: _backward(
        t, d, lambda: t.nn.functional.layer_norm(d.leaf_table, (10,))
    ),
}
MAKING: dict[str, Operation] = {
    "arange(0, 1, 0.1)": lambda t, d: t.arange(0, 1, 0.1),
    "ones_like": lambda t, d: t.ones_like(d.x),
    "empty_like": lambda t, d: t.empty_like(d.x),
    "full_like": lambda t, d: t.full_like(d.x, 2.0),
    "new_zeros": lambda t, d: d.x.new_zeros(3),
    "new_tensor": lambda t, d: d.x.new_tensor([1.0, 2.0]),
    "zeros with a grad": lambda t, d: t.zeros(10, requires_grad=True),
    "randn_like": lambda t, d: t.randn_like(d.x),
    "rand(3, 4)": lambda t, d: t.rand(3, 4),
    "randint of shape": lambda t, d: t.randint(10, (3,)),
    "normal_": lambda t, d: d.target.normal_(),
    "uniform_": lambda t, d: d.target.uniform_(-1, 1),
    "manual_seed": lambda t, d: t.manual_seed(0),
    "tensor of ints": lambda t, d: t.tensor([1, 2, 3]),
    "tensor of rows": lambda t, d: t.tensor([[1.0, 2.0], [3.0, 4.0]]),
    "tensor of an array": lambda t, d: t.tensor(d.array),
    "as_tensor": lambda t, d: t.as_tensor(d.array),
    "as_tensor of a tensor": lambda t, d: t.as_tensor(d.x),
    "FloatTensor": lambda t, d: t.FloatTensor([1.0, 2.0]),
    "tensor of float64": lambda t, d: t.tensor(3.0, dtype=t.float64),
}


def _no_grad(t: Any, d: Any) -> None:
    with t.no_grad():
        pass


def _enable_grad(t: Any, d: Any) -> None:
    with t.set_grad_enabled(True):
        pass


TRAINING: dict[str, Operation] = {
    "no_grad": _no_grad,
    "set_grad_enabled": _enable_grad,
    "is_grad_enabled": lambda t, d: t.is_grad_enabled(),
    "SGD step": lambda t, d: _trained(t, d, "SGD"),
    "Adam step": lambda t, d: _trained(t, d, "Adam"),
    "AdamW step": lambda t, d: _trained(t, d, "AdamW"),
    "RMSprop step": lambda t, d: _trained(t, d, "RMSprop"),
    "Adagrad step": lambda t, d: _trained(t, d, "Adagrad"),
    "Adadelta step": lambda t, d: _trained(t, d, "Adadelta"),
    "Adamax step": lambda t, d: _trained(t, d, "Adamax"),
    "NAdam step": lambda t, d: _trained(t, d, "NAdam"),
    "RAdam step": lambda t, d: _trained(t, d, "RAdam"),
    "Rprop step": lambda t, d: _trained(t, d, "Rprop"),
    "ASGD step": lambda t, d: _trained(t, d, "ASGD"),
    "zero_grad of a module": lambda t, d: _with_gradients(t, d).zero_grad(),
    "zero_grad of nothing": lambda t, d: _model(t, d).zero_grad(),
    "clip_grad_norm_": lambda t, d: t.nn.utils.clip_grad_norm_(_with_gradients(t, d).parameters(), 1.0),
    "clip_grad_value_": lambda t, d: t.nn.utils.clip_grad_value_(_with_gradients(t, d).parameters(), 1.0),
    "parameters": lambda t, d: list(_model(t, d).parameters()),
    "named_parameters": lambda t, d: list(_model(t, d).named_parameters()),
    "count of parameters": lambda t, d: sum(p.numel() for p in _model(t, d).parameters()),
    "state_dict": lambda t, d: _model(t, d).state_dict(),
    "load_state_dict": lambda t, d: _model(t, d).load_state_dict(_state(t, d)),
    "train()": lambda t, d: _model(t, d).train(),
    "eval()": lambda t, d: _model(t, d).eval(),
    "to(device) of a module": lambda t, d: _model(t, d).to("cpu"),
    "deepcopy of a module": lambda t, d: copy.deepcopy(_model(t, d)),
    "module": lambda t, d: _model(t, d)(d.table[:3]),
    "Linear": lambda t, d: _model(t, d)[0](d.table[:3]),
    "ReLU": lambda t, d: _kept(d, "relu", t.nn.ReLU)(d.x),
    "Dropout": lambda t, d: _kept(d, "dropout", t.nn.Dropout)(d.x),
    "LayerNorm": lambda t, d: _kept(d, "norm", lambda: t.nn.LayerNorm(10))(d.table),
    "BatchNorm1d": lambda t, d: _kept(d, "batch norm", lambda: t.nn.BatchNorm1d(10))(d.table),
    "Embedding": lambda t, d: _kept(d, "words", lambda: t.nn.Embedding(10, 4))(d.integers[:10]),
    "CrossEntropyLoss": lambda t, d: _kept(d, "loss", t.nn.CrossEntropyLoss)(d.table, d.labels),
    "MSELoss": lambda t, d: _kept(d, "mse", t.nn.MSELoss)(d.x, d.y),
    "Conv2d": lambda t, d: _kept(d, "conv", lambda: t.nn.Conv2d(1, 2, 3))(
        _kept(d, "picture", lambda: t.ones(1, 1, 8, 8))
    ),
    "new Linear": lambda t, d: t.nn.Linear(10, 8),
    "new Parameter": lambda t, d: t.nn.Parameter(d.x),
    "DataLoader": _loaded,
    "getattr of a module": lambda t, d: _model(t, d)[0].weight,
    "ema": lambda t, d: d.target.mul_(0.9).add_(d.y, alpha=0.1),
    "ema by lerp_": lambda t, d: d.target.lerp_(d.y, 0.1),
    "grad.zero_()": lambda t, d: d.target.detach().zero_(),
    "w.data -= lr * g": lambda t, d: d.leaf.data.sub_(d.y, alpha=0.0),
}
USUAL = {**ASKING, **SHAPING, **COMPUTING, **BACKWARD, **MAKING, **TRAINING}
