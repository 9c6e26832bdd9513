"""LLVM text and the machine: emission of kernels, vector maths, matrix products, the JIT."""
