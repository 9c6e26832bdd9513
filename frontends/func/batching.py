"""`vmap`: a function of one example, applied to all examples of a batch at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from adjit import trees
from adjit.errors import explained
from adjit.following import identity_of, trace_followed
from adjit.func.arguments import shown, title
from adjit.inner_trace import Other, Traced, call_inner, cut_off, write_back
from adjit.tensor import Tensor


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that maps `func` over an axis of its arguments: out[i] = func(x[i]), as one program.

    `in_dims` gives the axis of each argument (None: the same for all examples), `out_dims` where it goes in the
    results.  `func` is traced for one example and the program is vectorised, so it must not read numbers off tensors.
    `randomness` is "error", "same" (one draw for all examples) or "different"; `chunk_size` bounds how many examples
    are computed at once.
    Errors: ValueError for axes that do not fit; RuntimeError for random numbers with randomness "error".

    >>> import adjit as torch
    >>> torch.vmap(torch.dot)(torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure, axes = _axes(func, in_dims, args)
        sizes = [leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]
        if not sizes:
            raise ValueError("vmap: Expected at least one Tensor to vmap over")
        if any(size != sizes[0] for size in sizes):
            raise explained(
                ValueError,
                "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
                f"{[int(size) for size in sizes]} for the mapped dimension",
                "vmap",
                dict(zip(map(str, range(len(leaves))), leaves, strict=True)),
                hint="in_dims names the axis of each argument that is mapped, None for an argument without: vmap(f, "
                "in_dims=(0, None))",
            )
        front = [leaf if axis is None else leaf.movedim(axis, 0) for leaf, axis in zip(leaves, axes, strict=True)]

        def run(part: list[Any], size: Any) -> Any:
            return _mapped(func, part, axes, structure, kwargs, size, out_dims, randomness)

        if chunk_size is None or chunk_size >= sizes[0]:
            return run(front, sizes[0])
        return _in_chunks(run, front, axes, int(sizes[0]), chunk_size, out_dims)

    return mapped


def _axes(func: Callable[..., Any], in_dims: Any, args: tuple[Any, ...]) -> tuple[list[Any], Any, list[int | None]]:
    """The leaves of the arguments, their structure, and the mapped axis of each."""
    name = shown(func)
    call = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    leaves, structure = trees.flatten(args, none_is_leaf=True)
    given = tuple(in_dims) if isinstance(in_dims, list) else in_dims
    try:
        axes = trees.spread(given, args, none_is_leaf=True)
    except ValueError:
        raise explained(
            ValueError,
            f"{call}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{trees.structure_of(given, none_is_leaf=True)} but inputs has structure {structure}.",
            op="vmap",
            hint="one entry for each argument, as in in_dims=(0, None)",
        ) from None
    if isinstance(in_dims, int):
        axes = [axis if isinstance(leaf, Tensor) else _refuse(call, axis, leaf) for axis, leaf in zip(axes, leaves)]  # noqa: B905
    found: list[int | None] = []
    for axis, leaf in zip(axes, leaves, strict=True):
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int)):
            raise ValueError(
                f"{call}: Got in_dim={axis} for an input but in_dim must be either an integer dimension or None."
            )
        if axis is not None and not isinstance(leaf, Tensor):
            _refuse(call, axis, leaf)
        if axis is not None and not -leaf.dim() <= axis < leaf.dim():
            raise ValueError(
                f"{call}: Got in_dim={axis} for some input, but that input is a Tensor of dimensionality {leaf.dim()} "
                f"so expected in_dim to satisfy -{leaf.dim()} <= in_dim < {leaf.dim()}."
            )
        found.append(None if axis is None else axis % leaf.dim())
    return leaves, structure, found


def _refuse(call: str, axis: Any, leaf: Any) -> Any:
    raise ValueError(
        f"{call}: Got in_dim={axis} for an input but the input is of type {type(leaf)}. We cannot vmap over non-Tensor "
        "arguments, please use None as the respective in_dim"
    )


class _Result:
    """A leaf of a function's result, and whether it has the batch's axis; None for what is no tensor."""

    __slots__ = ("batched", "value")

    def __init__(self, value: Any, batched: bool | None) -> None:
        self.value, self.batched = value, batched


def _mapped(
    func: Callable[..., Any],
    leaves: list[Any],
    axes: list[int | None],
    structure: Any,
    kwargs: dict[str, Any],
    size: Any,
    out_dims: Any,
    randomness: str,
) -> Any:
    """The results for a batch whose axis stands first in every mapped leaf."""
    from adjit.compiler.vectorize import vectorize, without_batch
    from adjit.symbolic_size import as_dim

    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    operands = [leaves[place] for place in places]
    flags = [axes[place] is not None for place in places]

    def without_axis(place: int, operand: Tensor) -> Any:
        return operand.shape if axes[place] is None else operand.shape[1:]

    def one(*tensors: Tensor) -> Any:
        given = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            given[place] = tensor
        result = func(*trees.unflatten(structure, given), **kwargs)
        pairs = zip(places, tensors, operands, strict=True)
        # What the arguments became that were written, which in eager code are the caller's tensors.
        return result, {place: x for place, x, own in pairs if x._history and x.shape == without_axis(place, own)}

    types = [
        without_batch(tensor._tensor_type) if flag else tensor._tensor_type
        for tensor, flag in zip(operands, flags, strict=True)
    ]
    needs = [tensor.requires_grad for tensor in operands]
    traced = trace_followed(title(func), identity_of(func), one, types, needs)
    for name, reached in traced.unmapped:
        if any(flag and reach for flag, reach in zip(flags, reached, strict=True)):
            raise RuntimeError(
                f"You tried to vmap over {name}, but it does not have vmap support. Please override and implement the "
                "vmap staticmethod or set generate_vmap_rule=True. For more details, please see "
                "https://pytorch.org/docs/main/notes/extending.func.html"
            )
    operands = cut_off(traced, operands, flagged=True)
    captured, flags = operands[len(places) :], [*flags, *(False for _ in traced.captured)]
    if any(_is_key(target) for target in traced.written):
        if randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                "'different' randomness flags on vmap or perform the randomness operation out of vmap"
            )
        if randomness == "different":
            for place, tensor in enumerate(captured):
                if _is_key(tensor):
                    captured[place] = _keys(tensor, size)
                    flags[traced.arguments + place] = True
    extent, marks = as_dim(size), tuple(flags)
    found = traced.made(("vectorize", marks, extent), lambda: vectorize(traced.graph, marks, extent))
    results = call_inner(found.graph, [*operands[: len(places)], *captured], f"Vmap{title(func).capitalize()}")
    _write_back(traced, results[traced.count :], found.batched[traced.count :])
    given = [
        tensor.detach() if tensor.requires_grad and not flag else tensor
        for tensor, flag in zip(results, traced.flags, strict=False)
    ]
    pairs = map(_Result, given, found.batched)
    marked = [_Result(mark.value, None) if isinstance(mark, Other) else next(pairs) for mark in traced.leaves]
    result, changed = trees.unflatten(traced.structure, marked)
    for place, each in changed.items():
        _write_argument(leaves[place], each.value, axes[place] is not None, each.batched)
    return _placed(func, result, size, out_dims)


def _is_key(tensor: Tensor) -> bool:
    from adjit.generator import is_key

    return is_key(tensor)


# Examples draw from streams this far apart, in blocks of four words: none draws as many.
_STREAM = 1 << 40


def _keys(key: Tensor, size: Any) -> Tensor:
    """A random generator's key for each example."""
    from adjit.joining import stack
    from adjit.ranges import arange

    offsets = arange(size, dtype=None) * _STREAM
    return stack((key[0].expand(size), key[1] + offsets), 1)


def _write_back(traced: Traced, values: list[Tensor], batched: tuple[bool, ...]) -> None:
    kept = []
    for target, value, flag in zip(traced.written, values, batched, strict=True):
        if flag and not _is_key(target):
            raise _too_many()
        kept.append(value[0] if flag else value)
    write_back(traced.written, kept)


def _write_argument(target: Tensor, value: Tensor, mapped: bool, batched: bool) -> None:
    """Make the writes of all examples to an argument."""
    from adjit.views import check_writable, write

    if batched and not mapped:
        raise _too_many()
    check_writable(target)
    write(target, value if batched is mapped else value.expand(target.shape))


def _too_many() -> RuntimeError:
    return RuntimeError(
        "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in "
        "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but "
        "`self` not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace "
        "arithmetic."
    )


def _placed(func: Callable[..., Any], result: Any, size: Any, out_dims: Any) -> Any:
    """The function's result, whose tensors say whether they have the batch's axis, with it where `out_dims` says."""
    name = shown(func)
    found, structure = trees.flatten(result, none_is_leaf=True)
    is_single = isinstance(result, _Result) and isinstance(out_dims, tuple) and len(out_dims) == 1
    try:
        wanted = trees.spread(out_dims[0] if is_single else out_dims, result, none_is_leaf=True)
    except ValueError:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
            f"`outputs`. out_dims has structure {trees.structure_of(out_dims, none_is_leaf=True)} but outputs has "
            f"structure {structure}."
        ) from None
    leaves = []
    for each, axis in zip(found, wanted, strict=True):
        tensor = each.value
        if each.batched is None:
            if axis is not None:
                raise ValueError(
                    f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(tensor)}. Did you mean "
                    "to set out_dims= to None for output?"
                )
            leaves.append(tensor)
            continue
        if axis is None:
            if each.batched:
                raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
            leaves.append(tensor)
            continue
        if not each.batched:
            tensor = tensor.expand(size, *tensor.shape)
        leaves.append(tensor if axis == 0 else tensor.movedim(0, axis))
    return trees.unflatten(structure, leaves)


def _in_chunks(
    run: Callable[[list[Any], Any], Any],
    leaves: list[Any],
    axes: list[int | None],
    size: int,
    chunk: int,
    out_dims: Any,
) -> Any:
    """The results of one chunk after the other, joined."""
    from adjit.joining import cat

    parts = []
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        cut = [leaf if axis is None else leaf[start:stop] for leaf, axis in zip(leaves, axes, strict=True)]
        parts.append(trees.flatten(run(cut, stop - start), none_is_leaf=True))
    structure = parts[0][1]
    wanted = trees.spread(out_dims, trees.unflatten(structure, [0] * len(parts[0][0])), none_is_leaf=True)
    joined = [
        pieces[0] if axis is None else cat(list(pieces), axis)
        for pieces, axis in zip(zip(*(leaves for leaves, _ in parts), strict=True), wanted, strict=True)
    ]
    return trees.unflatten(structure, joined)
