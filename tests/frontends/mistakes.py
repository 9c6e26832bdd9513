"""Mistakes that beginners make, one a function: `run(f, *arguments)` calls `f`, eager or compiled.

What they raise is kept in tests/golden/errors/, one file a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adjit as torch
from adjit import nn

F = nn.functional
COMPILED_ALONE: set[str] = set()
MISTAKES: dict[str, Callable[[Callable[..., Any]], Any]] = {}


def mistake(function: Callable[..., Any]) -> Callable[..., Any]:
    MISTAKES[function.__name__] = function
    return function


def compiled_alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """A mistake that is none in eager."""
    COMPILED_ALONE.add(function.__name__)
    return mistake(function)


# -- shapes -----------------------------------------------------------------------------------------------------------
@mistake
def matmul_of_wrong_sizes(run):
    x, w = torch.ones(2, 3), torch.ones(4, 5)
    run(lambda x, w: torch.relu(x @ w), x, w)


@mistake
def matmul_to_be_transposed(run):
    x, w = torch.ones(2, 3), torch.ones(5, 3)
    run(lambda x, w: torch.relu(x @ w), x, w)


@mistake
def linear_of_wrong_width(run):
    layer = nn.Linear(4, 2)
    run(lambda x: layer(x), torch.ones(3, 5))


@mistake
def add_of_unequal_sizes(run):
    a, b = torch.ones(3), torch.ones(4)
    run(lambda a, b: (a + b).sum(), a, b)


@mistake
def add_that_wants_another_axis(run):
    rows, weights = torch.ones(3, 4), torch.ones(3)
    run(lambda rows, weights: rows * weights, rows, weights)


@mistake
def cat_of_unequal_sizes(run):
    a, b = torch.ones(2, 3), torch.ones(2, 4)
    run(lambda a, b: torch.cat([a, b]), a, b)


@mistake
def cat_of_unequal_ranks(run):
    a, b = torch.ones(2, 3), torch.ones(3)
    run(lambda a, b: torch.cat([a, b]), a, b)


@mistake
def stack_of_unequal_shapes(run):
    a, b = torch.ones(2), torch.ones(3)
    run(lambda a, b: torch.stack([a, b]), a, b)


@mistake
def view_of_wrong_size(run):
    run(lambda x: x.view(4, 2), torch.ones(2, 3))


@mistake
def view_after_transpose(run):
    run(lambda x: x.t().view(6), torch.ones(2, 3))


@mistake
def reshape_with_two_unknowns(run):
    run(lambda x: x.reshape(-1, -1), torch.ones(2, 3))


@mistake
def squeeze_of_missing_axis(run):
    run(lambda x: x.squeeze(2), torch.ones(2, 3))


@mistake
def sum_over_missing_axis(run):
    run(lambda x: x.sum(dim=2), torch.ones(2, 3))


@mistake
def permute_of_too_few(run):
    run(lambda x: x.permute(1, 0), torch.ones(2, 3, 4))


@mistake
def expand_to_other_size(run):
    run(lambda x: x.expand(2, 4), torch.ones(2, 3))


@mistake
def negative_size(run):
    run(lambda x: x + torch.zeros(2, -3), torch.ones(2, 3))


@mistake
def einsum_of_wrong_sizes(run):
    a, b = torch.ones(2, 3), torch.ones(4, 5)
    run(lambda a, b: torch.einsum("ij,jk->ik", a, b), a, b)


@mistake
def einsum_of_wrong_rank(run):
    a, b = torch.ones(2, 3), torch.ones(3)
    run(lambda a, b: torch.einsum("ij,jk->ik", a, b), a, b)


@mistake
def conv_of_wrong_channels(run):
    layer = nn.Conv2d(3, 8, 3)
    run(lambda x: layer(x), torch.ones(1, 1, 8, 8))


@mistake
def batch_norm_of_one_value(run):
    layer = nn.BatchNorm1d(3)
    run(lambda x: layer(x), torch.ones(1, 3))


@mistake
def mask_of_wrong_shape(run):
    x, mask = torch.ones(2, 3), torch.tensor([True, False])
    run(lambda x, mask: x.masked_fill(mask, 0.0), x, mask)


@mistake
def mask_of_numbers(run):
    x, mask = torch.ones(3), torch.tensor([1.0, 0.0, 1.0])
    run(lambda x, mask: x.masked_fill(mask, 0.0), x, mask)


# -- dtypes -----------------------------------------------------------------------------------------------------------
@mistake
def matmul_of_two_dtypes(run):
    x, w = torch.ones(2, 3), torch.ones(3, 4, dtype=torch.float64)
    run(lambda x, w: x @ w, x, w)


@mistake
def linear_of_integers(run):
    layer = nn.Linear(3, 2)
    run(lambda x: layer(x), torch.tensor([[1, 2, 3]]))


@mistake
def mean_of_integers(run):
    run(lambda x: x.mean(), torch.tensor([1, 2, 3]))


@mistake
def in_place_to_lesser_dtype(run):
    run(lambda x: x.add_(0.5), torch.tensor([1, 2, 3]))


@mistake
def cross_entropy_of_float_classes(run):
    logits, target = torch.ones(2, 3), torch.tensor([1.0, 2.0])
    run(lambda logits, target: F.cross_entropy(logits, target), logits, target)


@mistake
def cross_entropy_of_int32_classes(run):
    logits, target = torch.ones(2, 3), torch.tensor([1, 2], dtype=torch.int32)
    run(lambda logits, target: F.cross_entropy(logits, target), logits, target)


@mistake
def cross_entropy_of_class_outside(run):
    logits, target = torch.ones(2, 3), torch.tensor([1, 3])
    run(lambda logits, target: F.cross_entropy(logits, target), logits, target)


@mistake
def cross_entropy_of_column(run):
    logits, target = torch.ones(2, 3), torch.tensor([[1], [2]])
    run(lambda logits, target: F.cross_entropy(logits, target), logits, target)


@mistake
def embedding_of_index_outside(run):
    layer = nn.Embedding(10, 4)
    run(lambda index: layer(index), torch.tensor([1, 10]))


@mistake
def embedding_of_floats(run):
    layer = nn.Embedding(10, 4)
    run(lambda index: layer(index), torch.tensor([1.0, 2.0]))


@mistake
def binary_loss_of_other_shape(run):
    prediction, target = torch.full((4, 1), 0.5), torch.ones(4)
    run(lambda prediction, target: F.binary_cross_entropy(prediction, target), prediction, target)


# -- indices ----------------------------------------------------------------------------------------------------------
@mistake
def index_outside(run):
    run(lambda x: x[3], torch.ones(3))


@mistake
def index_of_too_many_axes(run):
    run(lambda x: x[0, 1, 2], torch.ones(3, 4))


@mistake
def index_by_float(run):
    run(lambda x: x[1.0], torch.ones(3))


@mistake
def gather_outside(run):
    x, index = torch.ones(2, 3), torch.tensor([[0, 3]])
    run(lambda x, index: x.gather(1, index), x, index)


@mistake
def iteration_over_a_number(run):
    run(lambda x: [part for part in x], torch.tensor(3.0))


@mistake
def length_of_a_number(run):
    run(lambda x: len(x), torch.tensor(3.0))


@mistake
def item_of_many(run):
    run(lambda x: x.item(), torch.ones(3))


@mistake
def truth_of_many(run):
    run(lambda x: bool(x > 0), torch.ones(3))


@mistake
def index_by_name(run):
    run(lambda x: x["a"], torch.ones(3))


@mistake
def backwards_slice(run):
    run(lambda x: x[::-1], torch.ones(3))


@mistake
def rows_of_unequal_lengths(run):
    run(lambda: torch.tensor([[1, 2], [3]]))


@mistake
def parts_that_do_not_add_up(run):
    run(lambda x: torch.split(x, [1, 2]), torch.ones(2, 3))


@mistake
def index_of_another_rank(run):
    x, index = torch.ones(2, 3), torch.tensor([0, 1])
    run(lambda x, index: x.gather(1, index), x, index)


@mistake
def product_with_a_number(run):
    run(lambda x: torch.matmul(x, 3), torch.ones(2, 3))


# -- calls ------------------------------------------------------------------------------------------------------------
@mistake
def unknown_device(run):
    run(lambda x: x.to("cuda"), torch.ones(3))


@mistake
def numpy_function_of_a_gradient(run):
    x = torch.ones(3, requires_grad=True)
    run(lambda x: (x * 2).numpy(), x)


@mistake
def list_to_a_function(run):
    run(lambda x: torch.sum([x, x]), torch.ones(3))


@mistake
def unknown_keyword(run):
    run(lambda x: torch.softmax(x, dims=0), torch.ones(3))


@mistake
def missing_argument(run):
    run(lambda x: torch.softmax(x), torch.ones(3))


# -- gradients --------------------------------------------------------------------------------------------------------
@mistake
def backward_twice(run):
    x = torch.ones(3, requires_grad=True)
    loss = run(lambda x: (x * x).sum(), x)
    loss.backward()
    loss.backward()


@mistake
def backward_of_many(run):
    x = torch.ones(3, requires_grad=True)
    run(lambda x: x * 2, x).backward()


@mistake
def backward_without_gradient(run):
    run(lambda x: (x * 2).sum(), torch.ones(3)).backward()


@mistake
def backward_of_detached(run):
    x = torch.ones(3, requires_grad=True)
    run(lambda x: (x.detach() * 2).sum(), x).backward()


@mistake
def gradient_of_integers(run):
    run(lambda x: x.requires_grad_(), torch.tensor([1, 2]))


@mistake
def in_place_on_a_leaf(run):
    weight = torch.ones(3, requires_grad=True)
    run(lambda weight: weight.sub_(0.1), weight)


@mistake
def in_place_on_saved(run):
    x = torch.ones(3, requires_grad=True)

    def loss(x):
        y = torch.exp(x)
        z = y * 2
        y += 1
        z.sum().backward()

    run(loss, x)


@mistake
def gradient_of_unused(run):
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    loss = run(lambda x, y: (x * 2).sum(), x, y)
    torch.autograd.grad(loss, [x, y])


@mistake
def wrong_shape_of_cotangent(run):
    x = torch.ones(3, requires_grad=True)
    run(lambda x: x * 2, x).backward(torch.ones(2))


@mistake
def deep_copy_of_a_result(run):
    import copy

    x = torch.ones(3, requires_grad=True)
    copy.deepcopy(run(lambda x: x * 2, x))


@mistake
def optimizer_without_parameters(run):
    run(lambda: torch.optim.SGD([], lr=0.1))


@mistake
def optimizer_of_a_tensor(run):
    run(lambda: torch.optim.SGD(torch.ones(3), lr=0.1))


@mistake
def optimizer_of_a_result(run):
    x = torch.ones(3, requires_grad=True)
    run(lambda: torch.optim.SGD([x * 2], lr=0.1))


@mistake
def state_of_another_model(run):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    other = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1), nn.Linear(1, 1))
    run(lambda: model.load_state_dict(other.state_dict()))


@mistake
def module_without_super_init(run):
    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 2)

    run(lambda: Net())


@mistake
def module_without_forward(run):
    class Net(nn.Module):
        def forwards(self, x):
            return x

    net = Net()
    run(lambda x: net(x), torch.ones(3))


@mistake
def vmap_of_unequal_sizes(run):
    a, b = torch.ones(2, 3), torch.ones(4, 3)
    run(lambda a, b: torch.vmap(torch.dot)(a, b), a, b)


@mistake
def vmap_of_wrong_in_dims(run):
    a, b = torch.ones(2, 3), torch.ones(2, 3)
    run(lambda a, b: torch.vmap(torch.dot, in_dims=(0,))(a, b), a, b)


@mistake
def grad_of_many(run):
    run(lambda x: torch.func.grad(lambda x: x * 2)(x), torch.ones(3))


@mistake
def recurrent_layer_of_wrong_width(run):
    layer = nn.LSTM(4, 5)
    run(lambda x: layer(x), torch.ones(2, 3, 3))


@mistake
def too_many_inputs(run):
    layer = nn.Linear(3, 2)
    run(lambda x: layer(x, x), torch.ones(2, 3))
