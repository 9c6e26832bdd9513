"""The loop level: kernels as loops over buffers."""
