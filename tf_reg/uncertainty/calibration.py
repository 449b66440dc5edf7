"""How far a classifier's probabilities can be trusted: the negative log-likelihood of one pass and of many."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tf_reg.uncertainty.monte_carlo import mc_predict


def measure(model: keras.Model, dataset: Any, samples: int, seed: int) -> dict[str, float]:
    """Return the negative log-likelihood (nats an example) and the accuracy, of one pass and of many.

    Args:
        model: A classifier with dropout layers, whose output is probabilities.
        dataset: Batches of images and one-hot labels.
        samples: How many draws of `tf_reg.mc_predict`.
        seed: Of the draws.
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
