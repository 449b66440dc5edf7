"""How sure a trained classifier is, and how right: one pass, Monte-Carlo dropout, and a fitted temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg.recipes import plots, training
from tf_reg.recipes.data.table_data import Data
from tf_reg.uncertainty import calibration
from tf_reg.uncertainty.monte_carlo import mc_predict
from tf_reg_cli.config import Config

NAMES = {"one_pass": "one pass", "mc": "many passes", "temperature": "temperature"}


class Sureness:
    """What a classifier says of the test examples, in each of the ways that a configuration asks for.

    Args:
        model: A trained classifier with probabilities of shape `(batch, classes)`.
        images: The data. A temperature is fitted to the validation examples.
        config: `mc_samples` and `calibrate`.

    Attributes:
        asked: Whether the configuration asks for any.
        served: The model that goes into the SavedModel: with a temperature behind it, if there is one.
        notes: Sentences for the user.
    """

    def __init__(self, model: keras.Model, images: Data, config: Config) -> None:
        self.served, self.notes = model, list[str]()
        self.asked = bool(config.mc_samples or config.calibrate)
        self._found: dict[str, np.ndarray] = {}
        self._extra: dict[str, Any] = {}
        if not self.asked:
            return
        self._truth = _labels(images.test)
        self._found["one_pass"] = model.predict(images.test, verbose=0)
        if config.mc_samples:
            batches = enumerate(images.test.as_numpy_iterator())
            seed, samples = config.seed, config.mc_samples
            means = [
                mc_predict(model, x, samples, batch_size=len(y), seed=seed + number).mean for number, (x, y) in batches
            ]
            self._found["mc"] = np.concatenate(means)
            self._extra["mc_samples"] = samples
        if config.calibrate:
            self._calibrate(model, images, config)

    def _calibrate(self, model: keras.Model, images: Data, config: Config) -> None:
        try:
            seen = model.predict(images.validation, verbose=0)
            temperature = calibration.fit_temperature(_labels(images.validation), seen)
        except ValueError as error:
            self.notes.append(f"--calibrate has no effect. {error}")
            return
        self.served = calibration.scaled(model, temperature)
        training.compile_model(self.served, config, images.train_size)  # so that it can be evaluated and saved
        self.served.optimizer.build(self.served.trainable_variables)
        self._extra["temperature"] = temperature
        self._found["temperature"] = self.served.predict(images.test, verbose=0)

    def metrics(self) -> dict[str, Any]:
        """Return what there is of these numbers, each for the test examples.

        `test_nll_<way>` (nats per example), `test_ece_<way>` and `test_accuracy_<way>` (from 0 to 1) of the ways
        `one_pass`, `mc` and `temperature`; `mc_samples`; `temperature`.
        """
        found = dict(self._extra)
        for way, probabilities in self._found.items():
            found[f"test_nll_{way}"] = calibration.log_loss(self._truth, probabilities)
            found[f"test_ece_{way}"] = calibration.expected_calibration_error(self._truth, probabilities)
            right = probabilities.argmax(axis=1) == self._truth.argmax(axis=1)
            found[f"test_accuracy_{way}"] = float(right.mean())
        return found

    def draw(self, path: Path, title: str) -> None:
        """Draw a reliability diagram: the accuracy at each confidence.

        Args:
            path: The PNG file.
            title: What stands above it.
        """
        bins = {NAMES[way]: calibration.reliability(self._truth, one) for way, one in self._found.items()}
        plots.reliability(bins, path, title)


def _labels(dataset: Any) -> np.ndarray:
    """Return the one-hot labels of a data set, of shape `(examples, classes)`."""
    return np.concatenate([labels for _, labels in dataset.as_numpy_iterator()])
