"""From a graph to native code: differentiation, simplification, fusion, loops, LLVM."""
