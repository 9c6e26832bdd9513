"""Operators of torch's database that adjit leaves out on purpose, each with the reason."""

_KERNEL = "a kernel behind a public function, which adjit has"
GAPS: dict[str, str] = {
    "_batch_norm_with_update": _KERNEL,
    "_chunk_cat": "private: the packing of distributed parameters",
    "_native_batch_norm_legit": _KERNEL,
    "_segment_reduce.lengths": "torch.segment_reduce, a prototype",
    "_segment_reduce.offsets": "torch.segment_reduce, a prototype",
    "_softmax_backward_data": "the derivative of a public function; adjit derives it",
    "_unsafe_masked_index": "private: what torch's compiler makes of a masked index",
    "_unsafe_masked_index_put_accumulate": "private: what torch's compiler makes of a masked index",
    "_upsample_bilinear2d_aa": _KERNEL,
    "chalf": "there are no complex numbers of two halves",
    "hash_tensor": "private to torch's debugging: an exclusive or of bits",
    "max_pool2d_with_indices_backward": "the derivative of a public function; adjit derives it",
    "native_batch_norm": _KERNEL,
    "native_dropout_backward": "the derivative of a public function; adjit derives it",
    "slice": "an operator of ATen that torch's namespace does not have; `x[a:b:c]` and `slice_copy` do its work",
    "to_sparse": "there are no sparse tensors",
    "torch.ops.aten._safe_softmax.default": _KERNEL,
}
# Where the two libraries differ and adjit keeps its way.
_REFLECTED = "torch has no method for a number in the tensor's place; adjit takes it"
DIFFERENT: dict[str, str] = {
    "__rand__": _REFLECTED,
    "__rdiv__": _REFLECTED,
    "__ror__": _REFLECTED,
    "__rxor__": _REFLECTED,
    "as_strided.partial_views": "compiled, the memory of an argument is what the argument shows of it",
    "as_strided_scatter": "torch's gradient of the input is wrong: its own gradcheck refuses it",
    "cholesky_inverse": "torch's gradient of the triangle that is not read is not 0",
    "cholesky_solve": "torch's gradient of the triangle that is not read is not 0",
    "linalg.eig": "the phases of eigenvectors are those of the LAPACK at hand",
    "linalg.norm.subgradients_at_zero": "torch's second gradient is NaN at 0, ours is 0",
    "logcumsumexp": "of complex numbers, imaginary parts agree modulo 2*pi",
    "masked.logaddexp": "torch's second gradient is NaN where both are masked, ours is 0",
    "mode": "of equal values the last is named; torch names one that its unstable sort leaves there",
    "narrow_copy": "torch's text for a dim out of range is that of an internal check",
}

# Where torch itself is farther from the truth (mpmath) than the tolerance: how many times as far it may be.  Its
# float64 Bessel functions are wrong by up to 9e-7 on -60..60 (ours by 7e-15), its float32 trigamma at poles by half,
# its gradient of logcumsumexp beside a large element by 2e-3; weights of cov are float32 in the samples.
INACCURATE: dict[str, int] = {
    "special.bessel_*": 20, "polygamma": 10, "special.polygamma": 10, "digamma": 10,
    "special.hermite_polynomial_he": 20, "logcumsumexp": 500, "cov": 500,
    "nn.functional.scaled_dot_product_attention": 4,
}  # fmt: skip
