"""Models that a logger watches, compiled and fitted, and their penalty as Keras has it."""

import keras
import numpy as np
from keras import ops

from tests import models_under_test as models

BATCH, EXAMPLES = 8, 21  # a last batch that isn't full


def compiled(build, **options):
    model = build()
    options = {"optimizer": "adam", "loss": "mse", "metrics": [keras.metrics.MeanSquaredError("mse")], **options}
    model.compile(**options)
    return model


def fit(model, *callback_list, epochs=2, **options):
    x, y = models.inputs_of(model, EXAMPLES), np.ones((EXAMPLES, 1), "float32")
    options = {"validation_data": (x, y), "batch_size": BATCH, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=list(callback_list), **options).history


def regularized(model):
    return [variable for variable in model.trainable_variables if variable.regularizer is not None]


def penalty_of(model):
    return sum(
        float(ops.convert_to_numpy(variable.regularizer(ops.convert_to_tensor(variable))))
        for variable in regularized(model)
    )
