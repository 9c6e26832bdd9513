"""Operators of torch's database that adjit leaves out on purpose, each with the reason."""

GAPS: dict[str, str] = {
    "_chunk_cat": "private: the packing of distributed parameters",
    "_unsafe_masked_index": "private: what torch's compiler makes of a masked index",
    "_unsafe_masked_index_put_accumulate": "private: what torch's compiler makes of a masked index",
    "hash_tensor": "private to torch's debugging: an exclusive or of bits",
    "slice": "an operator of ATen that torch's namespace does not have; `x[a:b:c]` and `slice_copy` do its work",
}
# Where the two libraries differ and adjit keeps its way.
DIFFERENT: dict[str, str] = {
    "as_strided.partial_views": "compiled, the memory of an argument is what the argument shows of it",
    "as_strided_scatter": "torch's gradient of the input is wrong: its own gradcheck refuses it",
    "cumprod": "second gradients beside zeros of the input lack terms; first ones are right",
    "linalg.eig": "the phases of eigenvectors are those of the LAPACK at hand",
    "linalg.norm.subgradients_at_zero": "torch's second gradient is NaN at 0, ours is 0",
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
