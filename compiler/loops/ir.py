"""The loop level: the ops that kernels are made of.

A `kernel` node's region takes buffers (its operands, then its results) and holds statements: `for` nests around scalar
arithmetic, `load`, `reduce` and `store`.  Scalars are values of type `dtype[]`, computed by the scalar primitives of
the tensor level (and `const`, whose value is a number here: sizes become `index`).  Indices are size polynomials over
loop variables, as in

    for {var=[i, j], extent=[n, 3], parallel=true, sequential=false} {
      %0 = load %x {at=[i, j], masked=false} : f32[]
      %1 = mul %0, 2.0 : f32[]
      store %y, %1 {at=[i, j], masked=false}
    }

Meanings:

- `fuse`: tensor-level group: one kernel will compute it; its region is ordinary tensor code.  With `rows`, the kernel
  loops over the first `rows` axes outside; `tiles` says of each result the number of rows that it is a sum over, or 0.
  With `block`, which then holds products too, it goes through all its stages for that many rows after another.
- `kernel`: a lowered group; region inputs are operand buffers, then result buffers.
- `for`: loop nest over `var` with `extent`, first outermost.  `parallel`: iterations of the first variable are
  independent; `sequential`: those of the last variable depend on earlier ones.
- `blocks`: statements for each index of `var` over `extent`, one after another, complete one before the next begins;
  the `independent` first variables may run in any order.  Extents inside may depend on its variables.
- `load`: element of a buffer; further operands `%p` are dynamic positions, named `_0`, `_1`, ... in `at`; with
  `masked`, the last operand is a bool, and where it is false nothing is read and the result is 0.
- `store`: element of a buffer becomes the scalar; further operands as in `load`.
- `scratch`: memory for some elements, of each thread its own, which begins with anything; `shared` if it passes them
  from one statement of a `blocks` to others.
- `listed`: memory that holds these numbers and is only read.
- `update`: read-modify-write: element (kind)= scalar, kind in set, add, mul, max, min; further operands as in `load`.
- `partial`: in a `for` of one variable, the sum of the scalar over each BLOCK of its values, in the order `lanes`,
  becomes the buffer's element with the block's number.
- `index`: the integer `value` of an index expression.
- `inside`: true where every `[expression, extent]` of `of` has 0 <= expression < extent.
- `position`: the integer operand as an i64 in [0, extent): outside it the fault INDEX is raised and 0 is the result;
  where it is `certain` to be inside, nothing is checked.
- `random_word`: the word at a position of the stream of random bits that a seed and a number name
  (`adjit.ir.ops.source`).
- `reduce`: fold of the region's outputs over `var`, `extent`; kinds as in `adjit.ir.index`; `order` says the order of a
  floating sum or product.
- `contract`: `out[b, m, n] = sum_k a(b, m, k) * b(b, k, n)`, by packed panels; two regions give the operands' elements.
  With a third region, the epilogue, there is no `out`: its statements run once for each sum, which is its input.
- `as_real`, `as_complex`: interleaved parts as complex numbers and back: the same memory, at the level of the program.
- `matrices`: an algorithm on each small matrix of a batch, of buffers [batch, ...]: `lu`, `cholesky`,
  `triangular_solve`, `lu_solve`, with the op's own operands and results.
- `transform`: the Fourier transform `way` (`fft`, `rfft`, `irfft`) of [rows, points, inner] numbers along the points.
- `sort_rows`: stable sort of each row of a [rows, length] buffer, of which the places from `first` on, `count` of them,
  go to [rows, count] buffers of values, of indices, or of both.

Exact forms: operands; attributes; regions; results.

    kernel      tensors; ; body: statements, no outputs; tensors
    for         ; var, extent, parallel: bool, sequential: bool; body, no outputs;
    blocks      ; var, extent, independent: int; body: statements, no outputs;
    scratch     ; shared: bool; ; dtype[dims]: numbers
    listed      ; values: tuple of numbers; ; dtype[n]
    load        buffer, *positions, [mask]; at, masked: bool; ; dtype[]
    store       buffer, scalar, *positions, [mask]; at, masked: bool; ;
    update      buffer, scalar, *positions, [mask]; at, masked: bool, kind: str; ;
    partial     buffer, scalar; ; ;
    index       *positions; value: Size, dtype; ; dtype[]
    inside      *positions; of: tuple of (Size, Size); ; bool[]
    position    integer scalar, [mask]; extent: Size, masked: bool, certain: bool; ; i64[]
    random_word seed, stream, position: i64 scalars; ; ; i32[]
    reduce      ; kind: str, var, extent, order: str; body: 1 output, (value, i64 index) for argmax and argmin; the same
    contract    [out]; batch, m, n, k: tuples of (var, extent) pairs, at; a(batch, m, k), b(batch, k, n): 1 output each,
                [(sum): statements, no outputs];
    matrices    operands, results; algorithm: str, batch: Size, rows: Size, columns: Size, results: int, flags; ;
    transform   source, result; way: str, inverse: bool, rows: Size, points: int, inner: Size; ;
    sort_rows   source, [values], [indices]; rows, length, first, count: Size, descending: bool, results: str; ;

`var` is a tuple of `Dim.named(name)`, names unique in a kernel and no size's name; `extent` a tuple of sizes, which
never depend on loop variables.  No region of a loop op has inputs, but an epilogue; regions see the values and
variables around them.
`at` has one index for each axis of the buffer, or a single one that is the flat row-major position (`address` gives
the flat position of both).  A masked `position` raises no fault where its mask is false.  `inside` and `index` take
positions by the names `_0`, `_1`, ... as `load` does.

A buffer may be read after it was written.  Statements of a kernel run one after the other: what one stored, the next
may load.  All iterations of a nest inside a `for` are complete before the statement after that nest begins, in the
same iteration of the outer loop.  In a `contract`, `at` is the flat position of a sum in `out`, or in what the epilogue
stores, and depends on the variables of batch, m and n; n is the side that holds the unit stride; any of the four may
be empty (a product of extents of 1), and the sum over an empty k is 0.

`order` makes sums reproducible: their bits depend on the extents alone, never on fusion, threads or vector width.

- `lanes`: the flattened domain is cut into blocks of BLOCK; in a block, partial sum `l` of LANES takes the terms at
  positions congruent to `l`; the partials are added as a balanced tree (l with l + LANES/2, ...); blocks are added in
  order.
- `sequential`: the domain is cut into the fewest runs of at most RUN terms, of nearly equal length, each added in order
  from zero; the runs are added in order, the first as it stands.
- `products`: the same for a sum of products, each multiplied and added in one rounding where the target can: as in
  `contract`.
- `any`: kinds and dtypes whose result no order changes.

Every partial result starts from 0 (a product from 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adjit.ir.errors import CompileError
from adjit.ir.graph import Node, Value
from adjit.ir.primitive import Primitive, primitive_named, register
from adjit.ir.shape import Size, strides_of
from adjit.ir.types import DType, TensorType

BLOCK = 16384
SHORT = 64  # terms, and sums, of a product that is summed by lanes: as many as there are partial sums
RUN = 512  # the longest run of a packed product (llvm/gemm_plan.py): plain and packed sums have the same bits


def lanes_of(dtype: DType) -> int:
    """The number of partial sums of the order `lanes`: 64 for four bytes and less, 32 for eight."""
    return 32 if dtype.itemsize == 8 else 64


def address(type: TensorType, at: Sequence[Size]) -> Size:
    """The flat row-major position, in elements, that `at` says in a buffer of `type`."""
    if len(at) == 1:
        return at[0]
    total: Size = 0
    for index, stride in zip(at, strides_of(type.dims), strict=True):
        total = total + index * stride
    return total


def used_values(node: Node) -> Iterator[Value]:
    """The values that a node and its regions use."""
    yield from node.inputs
    for region in node.regions:
        yield from region.outputs
        for inner in region.walk():
            yield from inner.inputs
            for deeper in inner.regions:
                yield from deeper.outputs


def _loop_op(name: str, summary: str) -> Primitive:
    def reference(*operands: Any, **attributes: Any) -> Any:
        raise CompileError(f"{name} belongs to the loop level: it is compiled, not interpreted")

    reference.__doc__ = summary
    return register(Primitive(name, "loop", reference, isolated=name in ("fuse", "kernel")))


FUSE = _loop_op("fuse", "Group of tensor ops that one kernel computes.")
KERNEL = _loop_op("kernel", "A lowered group: loops over buffers.")
FOR = _loop_op("for", "Loop nest.")
BLOCKS = _loop_op("blocks", "Statements block by block.")
SCRATCH = _loop_op("scratch", "Memory for a few elements.")
LISTED = _loop_op("listed", "Numbers that are known.")
LOAD = _loop_op("load", "Element of a buffer.")
STORE = _loop_op("store", "Write an element of a buffer.")
UPDATE = _loop_op("update", "Read-modify-write an element of a buffer.")
PARTIAL = _loop_op("partial", "Sum of each block of a loop.")
INDEX = _loop_op("index", "Integer value of an index expression.")
INSIDE = _loop_op("inside", "Whether index expressions are in bounds.")
POSITION = _loop_op("position", "Checked dynamic index.")
RANDOM_WORD = _loop_op("random_word", "Word of a stream of random bits.")
REDUCE = _loop_op("reduce", "Fold over a loop domain.")
CONTRACT = _loop_op("contract", "Packed matrix contraction.")
MATRICES = _loop_op("matrices", "An algorithm on each small matrix of a batch.")
TRANSFORM = _loop_op("transform", "The Fourier transform of each row, or column.")
SORT_ROWS = _loop_op("sort_rows", "Stable sort of each row.")


# -- memory under two types --------------------------------------------------------------------------------------------
def _memory_view(name: str, of: str) -> Primitive:
    """`view_as_real` or `view_as_complex` as a compiled program has it: no kernel, the operand's own memory."""

    def reference(x: Any) -> Any:
        return primitive_named(of).reference(x)

    reference.__doc__ = f"`{of}`, on the operand's own memory."
    op = register(Primitive(name, "memory", reference))
    op.infer_rule = lambda x: primitive_named(of).infer((x,), {})
    return op


AS_REAL = _memory_view("as_real", "view_as_real")
AS_COMPLEX = _memory_view("as_complex", "view_as_complex")
