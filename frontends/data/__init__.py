"""Data that ships with adjit: 5,000 handwritten digits of MNIST, so that examples and tests need no download."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import numpy.typing as npt

__all__ = ["digits"]

# 400 images of each digit; the other 100 of each are held out.
TRAIN_COUNT = 4000


def digits(train: bool = True) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images in [0, 1] and labels 0..9: the 4,000 for training, or the 1,000 held out with `train=False`.

    The split is fixed: the images of a digit are ordered by the SHA-256 of their 784 pixel bytes, the first 400 are
    for training and the last 100 are held out.  Row 10*k + d is the k-th image of digit d, so any ten rows in a row
    hold each digit once.

    Shapes: images f32[n, 1, 28, 28], labels i64[n]
    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits; see NOTICE beside this file.

    >>> images, labels = digits(train=False)
    >>> images.shape, labels[:12].tolist()
    ((1000, 1, 28, 28), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    """
    with (files(__name__) / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        part = slice(None, TRAIN_COUNT) if train else slice(TRAIN_COUNT, None)
        images, labels = archive["images"][part], archive["labels"][part]
    return images[:, np.newaxis].astype(np.float32) / np.float32(255), labels.astype(np.int64)
