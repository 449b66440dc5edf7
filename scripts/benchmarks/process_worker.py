"""One of the processes that `process_speed` times: trains, and prints the seconds of a step."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

BEFORE = 20  # steps until the time counts


def main() -> None:
    """Train as the command line says: widths, processes, address, batch size, steps, number, core."""
    widths, processes, batch_size, steps, number, core = (json.loads(sys.argv[place]) for place in (1, 2, 4, 5, 6, 7))
    os.sched_setaffinity(0, {core})
    import keras

    if processes > 1:
        keras.distribution.initialize(sys.argv[3], processes, number)
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    print(_timed(widths, batch_size // processes, steps))


def _timed(widths: list[int], rows: int, steps: int) -> float:
    """Return the mean seconds of a step after the first ones."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tf_reg

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(n, "relu", kernel_regularizer=keras.regularizers.L1(1e-5)) for n in widths[1:-1]]
    model = keras.Sequential([keras.Input((widths[0],)), *hidden, keras.layers.Dense(widths[-1])])
    optimizer = tf_reg.Proximal(keras.optimizers.SGD(1e-3, momentum=0.9))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=True)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(rows, widths[0])).astype("float32"), random.integers(0, widths[-1], rows)
    data = tf.data.Dataset.from_tensors((x, y)).repeat(BEFORE + steps)
    clock = _clock()
    model.fit(data, verbose=0, callbacks=[clock])
    return (clock.end - clock.begin) / steps


def _clock() -> Any:
    import keras

    class Clock(keras.callbacks.Callback):
        """Reads the time after the first steps and after the last."""

        begin = end = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            """Wait for the loss of the step, and read the time."""
            float((logs or {})["loss"])
            self.end = time.perf_counter()
            if batch == BEFORE - 1:
                self.begin = self.end

    return Clock()


if __name__ == "__main__":
    main()
