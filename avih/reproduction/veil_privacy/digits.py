"""Digits for the MNIST row of Veil Privacy's Table 2: a declared stand-in that ships with scikit-learn."""

from functools import partial
from typing import Final

import numpy as np
from sklearn.datasets import load_digits

from avih.classifiers.train import Labelled, TrainSettings, split_per_class
from avih.reproduction.context import Context
from avih.reproduction.veil_privacy.data import Group, lenet, of_many, public_secret
from avih.veil_privacy.training import Setup

DIGITS: Final = "scikit-learn digits, 32x32"
DIGIT_SIZE: Final = 32


def digits(context: Context) -> Group:
    """Return the digits of scikit-learn, each pixel four by four times: a declared stand-in for MNIST."""
    found = load_digits()
    each = context.size(smoke=6, cpu=40, full=170)
    rows = np.sort(np.concatenate([np.flatnonzero(found.target == digit)[:each] for digit in range(10)]))
    values = (found.images[rows] * 255 / 16).round().astype(np.uint8)
    pictures = values.repeat(DIGIT_SIZE // 8, axis=1).repeat(DIGIT_SIZE // 8, axis=2)[:, None]
    data = Labelled(pictures, found.target[rows].astype(np.int64), tuple(f"digit {row}" for row in rows))
    train, test = split_per_class(data, test_per_class=context.size(smoke=2, cpu=10, full=50), seed=0)
    setup = Setup(
        train=train,
        test=test,
        build=partial(lenet, DIGIT_SIZE, DIGIT_SIZE),
        secret=public_secret(0),
        training=TrainSettings(epochs=context.size(smoke=6, cpu=80, full=80)),
        veiling=of_many(context),
    )
    return Group("digits", DIGITS, setup, None, tuple(str(digit) for digit in range(10)))
