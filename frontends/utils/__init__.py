"""Helpers around tensors and training: hook handles, data loading."""
