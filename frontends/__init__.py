"""adjit: tensors with PyTorch's API, traced, differentiated symbolically and compiled to native code."""
