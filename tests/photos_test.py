"""Squares of photographs: whose they are, and that training and test share no pixel."""

import numpy as np
import pytest

from nrf import data
from nrf.config import options
from nrf.data import photos


def test_squares_are_cut_from_the_photograph_that_they_are_labelled_with():
    train, test = data.load("photos")
    assert train.images.shape == (4000, 12, 12, 3) and len(test.labels) == 1000
    assert train.names == tuple(photos.PHOTOS)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    for image, label in zip(test.images[:20], test.labels[:20], strict=True):
        photo = list(photos.PHOTOS.values())[label]
        pixels = photos._pixels(photo, shrink=1, grey=False)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (12, 12), (0, 1))
        assert (windows == image.transpose(2, 0, 1)).all((2, 3, 4)).any()


def test_no_pixel_is_in_two_parts(monkeypatch):
    def places(photo, shrink, grey):
        """Every pixel says where it is."""
        return np.arange(300 * 451, dtype=np.float32).reshape(300, 451, 1)

    monkeypatch.setattr(photos, "_pixels", places)
    parts = [
        set(photos.squares(part, 4000).images.ravel().tolist())
        for part in ("train", "validation", "test")
    ]
    assert min(map(len, parts)) > 0.1 * 300 * 451
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_squares_can_be_larger_grey_and_of_smaller_photographs():
    large = photos.squares("train", 20, side=16, shrink=2, grey=True)
    assert large.images.shape == (20, 16, 16, 1)


def test_another_picture_under_the_same_name_is_refused(monkeypatch):
    other = photos.PHOTOS["cat"]._replace(sha256="0" * 16)
    monkeypatch.setitem(photos.PHOTOS, "cat", other)
    with pytest.raises(ValueError, match=r"chelsea\.png is another picture"):
        data.load("photos")


def test_a_package_that_is_not_there_is_named(monkeypatch):
    other = photos.PHOTOS["cat"]._replace(package="not_there")
    monkeypatch.setitem(photos.PHOTOS, "cat", other)
    with pytest.raises(ValueError, match=r"package not_there.*pip install"):
        data.load("photos")


def test_the_evidence_of_both_attacks_has_batches_of_one_size():
    """Of others every program that checks an attack would be compiled again."""
    work = options.load("photos").work
    assert work.evaluation_batch == work.autoattack_batch
