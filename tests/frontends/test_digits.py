"""The shipped digits: the file's contents, the split, and what `digits` returns."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pytest

from adjit.data import digits

# Of the images' bytes followed by the labels' bytes, as NOTICE says they were ordered.
SHA256 = "6ae4d93b13256d7b0bf3aaeac559a53ae8e39e8d26c47198912510d92ef69186"
CLASSES = 10


@pytest.fixture(scope="module")
def archive() -> dict[str, np.ndarray]:
    with (files("adjit.data") / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as content:
        return dict(content)


def pixel_hashes(images: np.ndarray) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def test_the_file_holds_the_documented_bytes(archive):
    images, labels = archive["images"], archive["labels"]
    assert (images.shape, images.dtype) == ((5000, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((5000,), np.uint8)
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == SHA256


def test_row_10k_plus_d_is_the_kth_image_of_digit_d_by_hash(archive):
    hashes = pixel_hashes(archive["images"])
    for digit in range(CLASSES):
        assert set(archive["labels"][digit::CLASSES].tolist()) == {digit}
        of_digit = hashes[digit::CLASSES]
        assert of_digit == sorted(of_digit)


@pytest.mark.parametrize(("train", "count"), [(True, 4000), (False, 1000)])
def test_digits_are_scaled_images_with_labels(archive, train, count):
    images, labels = digits(train)
    assert (images.shape, images.dtype) == ((count, 1, 28, 28), np.float32)
    assert (labels.shape, labels.dtype) == ((count,), np.int64)
    assert images.min() == 0.0
    assert images.max() == 1.0
    part = archive["images"][:4000] if train else archive["images"][4000:]
    np.testing.assert_array_equal(np.rint(images[:, 0] * 255), part)
    np.testing.assert_array_equal(np.bincount(labels), np.full(CLASSES, count // CLASSES))


def test_no_image_is_in_both_parts():
    train, held_out = digits(True)[0], digits(False)[0]
    assert not set(pixel_hashes(train)) & set(pixel_hashes(held_out))


def test_each_call_gives_arrays_of_its_own():
    images, labels = digits(False)
    images[:] = 2.0
    labels[:] = -1
    again, again_labels = digits(False)
    assert again.max() == 1.0
    assert again_labels.min() == 0
