"""The networks that are measured, and the data they are trained on."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import keras

from tf_reg.recipes import training
from tf_reg.recipes.data.table_data import Data
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError

NETWORKS: dict[str, dict[str, Any]] = {
    "MLP 1024-1024": {"model": "mlp", "hidden": (1024, 1024), "reg": "l1l2"},
    "CNN": {"model": "cnn", "dropout": 0.5, "reg": "l1l2"},
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A compiled network and the data to train it on, as `scripts/train.py` would make them."""

    name: str
    config: Config
    model: keras.Model
    images: Data

    @property
    def batches(self) -> int:
        """The number of full batches in an epoch."""
        return self.images.train_size // self.config.batch_size

    def again(self, **changes: Any) -> Subject:
        """Return the same network anew, on the same data, with another configuration."""
        config = dataclasses.replace(self.config, **changes)
        return dataclasses.replace(self, config=config, model=_compiled(config, self.images))

    def feed(self, steps: int | None = None) -> Any:
        """Return the training pipeline without its last, smaller batch, which would need a trace of its own.

        Args:
            steps: The length of an epoch in batches, if it isn't the whole one.
        """
        return self.images.train.take(self.batches if steps is None else min(steps, self.batches))


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags that say which data to load."""
    parser.add_argument("--dataset", default="fashion_mnist", metavar="TEXT", help="(default: fashion_mnist)")
    parser.add_argument("--data-dir", metavar="TEXT", help="where TensorFlow Datasets keeps its sets")
    parser.add_argument("--train-size", type=int, metavar="N", help="train on that many examples only")


def load(flags: Namespace, batch_size: int, **changes: Any) -> tuple[Config, keras.Model, Data]:
    """Return a configuration, its compiled model and its data.

    Raises:
        UserError: If there is no such data, or not even one full batch of it.
    """
    config = Config(
        dataset=flags.dataset,
        data_dir=flags.data_dir,
        train_size=flags.train_size,
        batch_size=batch_size,
        **changes,
    )
    model, images = training.prepare(config)
    if images.train_size < batch_size:
        raise UserError(f"A batch of {batch_size} needs more than the {images.train_size} training examples.")
    return config, model, images


def subjects(flags: Namespace, batch_size: int) -> Iterator[Subject]:
    """Yield every network, on data that is loaded once."""
    (first, settings), *others = NETWORKS.items()
    subject = Subject(first, *load(flags, batch_size, **settings))
    yield subject
    for name, settings in others:
        yield dataclasses.replace(subject.again(**settings), name=name)


def _compiled(config: Config, images: Data) -> keras.Model:
    model = training.build_model(config, images)
    training.compile_model(model, config, images.train_size)
    return model
