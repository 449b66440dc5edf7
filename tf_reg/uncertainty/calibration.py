"""The calibration of a classifier: its negative log-likelihood with dropout off and with Monte-Carlo dropout."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tf_reg.uncertainty.monte_carlo import mc_predict


def measure(model: keras.Model, dataset: Any, samples: int, seed: int) -> dict[str, float]:
    """Return the negative log-likelihood and the accuracy of two predictions: with dropout off, and of `mc_predict`.

    Args:
        model: A classifier with dropout layers whose outputs are probabilities, of shape `(batch, classes)`.
        dataset: Batches of images and one-hot labels of shape `(batch, classes)`.
        samples: The number of samples of `tf_reg.mc_predict`.
        seed: The seed of the first batch, a non-negative integer. Each later batch adds 1.

    Returns:
        `test_nll_one_pass` and `test_nll_mc` (nats per example), `test_accuracy_one_pass` and `test_accuracy_mc` (from
        0 to 1), and `mc_samples`.
    """
    ways: dict[str, list[np.ndarray]] = {"one_pass": [], "mc": []}
    labels = []
    for number, (images, classes) in enumerate(dataset):
        ways["one_pass"].append(np.asarray(model(images, training=False)))
        ways["mc"].append(mc_predict(model, images, samples, batch_size=len(images), seed=seed + number).mean)
        labels.append(np.asarray(classes))
    truth = np.concatenate(labels).argmax(axis=1)
    found: dict[str, float] = {"mc_samples": samples}
    for way, parts in ways.items():
        probabilities = np.concatenate(parts).astype("float64")
        right = probabilities[np.arange(len(truth)), truth]
        found[f"test_nll_{way}"] = float(-np.log(np.maximum(right, 1e-12)).mean())
        found[f"test_accuracy_{way}"] = float((probabilities.argmax(axis=1) == truth).mean())
    return found
