"""People who come from PyTorch: every row of the page against torch."""

import sys

import keras
import numpy as np
import pytest
from keras.regularizers import L1, L2

import tf_reg
from tests.rules.migration import RANDOM, START, D, X, Y, covered, dense, row, rows, train
from tests.tools import require_module

pytestmark = pytest.mark.slow  # importing torch takes seconds


@pytest.fixture(autouse=True)
def _torch():
    require_module("torch")


def trained_by_torch(make_optimizer, start, steps=20, penalty=None):
    """Weight and bias of a linear layer, trained on the mean squared error by a torch optimizer."""
    import torch

    layer = torch.nn.Linear(D, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(start.T))
        layer.bias.zero_()
    optimizer = make_optimizer(torch, layer)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(layer(torch.tensor(X)), torch.tensor(Y[:, None]))
        (loss if penalty is None else loss + penalty(layer)).backward()
        optimizer.step()
    return layer.weight.detach().numpy().T, layer.bias.detach().numpy()


EVERYTHING = {lambda path, layer, variable: True: L2(0.3 / 2)}


def check_torch(make_optimizer, rules, optimizer, penalty=None):
    model = dense(START)
    if rules is not None:
        tf_reg.regularize(model, rules)
    ours = train(model, optimizer)
    for a, b in zip(trained_by_torch(make_optimizer, START, penalty=penalty), ours, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@row("`torch.optim.SGD(..., weight_decay=d)`")
def test_sgd():
    check_torch(
        lambda torch, layer: torch.optim.SGD(layer.parameters(), 0.05, momentum=0.9, weight_decay=0.3),
        EVERYTHING,
        keras.optimizers.SGD(0.05, momentum=0.9),
    )


@row("the same, with a group of parameters without decay for biases and norms")
def test_sgd_without_decay_of_biases():
    check_torch(
        lambda torch, layer: torch.optim.SGD(
            [{"params": [layer.weight], "weight_decay": 0.3}, {"params": [layer.bias]}], 0.05
        ),
        L2(0.3 / 2),
        keras.optimizers.SGD(0.05),
    )


@row("`torch.optim.Adam(..., weight_decay=d)`")
def test_adam():
    check_torch(
        lambda torch, layer: torch.optim.Adam(layer.parameters(), 0.05, weight_decay=0.3),
        EVERYTHING,
        keras.optimizers.Adam(0.05, epsilon=1e-8),
    )


@row("`torch.optim.AdamW(..., weight_decay=d)`")
def test_adamw():
    check_torch(
        lambda torch, layer: torch.optim.AdamW(layer.parameters(), 0.05, weight_decay=0.3),
        None,
        keras.optimizers.AdamW(0.05, weight_decay=0.3, epsilon=1e-8),
    )


@row("`loss + l * sum(p.abs().sum() for p in weights)`")
def test_l1_in_the_loss():
    check_torch(
        lambda torch, layer: torch.optim.SGD(layer.parameters(), 0.05),
        L1(0.2),
        keras.optimizers.SGD(0.05),
        penalty=lambda layer: 0.2 * layer.weight.abs().sum(),
    )


@row("`loss + l * sum(p.square().sum() for p in weights)`")
def test_l2_in_the_loss():
    check_torch(
        lambda torch, layer: torch.optim.SGD(layer.parameters(), 0.05),
        L2(0.2),
        keras.optimizers.SGD(0.05),
        penalty=lambda layer: 0.2 * layer.weight.square().sum(),
    )


@row("`torch.nn.CrossEntropyLoss(label_smoothing=s)`")
def test_label_smoothing():
    import torch

    logits, labels = RANDOM.normal(size=(5, 3)).astype("float32"), np.array([0, 1, 2, 1, 0])
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(torch.tensor(logits), torch.tensor(labels))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert float(loss(np.eye(3)[labels], logits)) == pytest.approx(float(theirs), rel=1e-5)


@row("`torch.nn.Dropout(p)`")
def test_dropout():
    import torch

    ones = np.ones((100, 1000), "float32")
    theirs = torch.nn.Dropout(0.2)(torch.tensor(ones)).numpy()
    ours = np.asarray(keras.layers.Dropout(0.2)(ones, training=True))
    np.testing.assert_allclose(np.unique(theirs), [0, 1.25], rtol=1e-6)
    np.testing.assert_allclose(np.unique(ours), [0, 1.25], rtol=1e-6)
    assert np.mean(ours == 0) == pytest.approx(np.mean(theirs == 0), abs=0.01)


@row("`torch.nn.utils.prune.l1_unstructured(layer, 'weight', 0.5)`")
def test_pruning():
    import torch
    from torch.nn.utils import prune

    layer = torch.nn.Linear(D, 1)
    prune.l1_unstructured(layer, "weight", 0.5)
    model = dense(START)
    tf_reg.regularize(model, L1(0.1))
    model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
    model.fit(X, Y, epochs=20, batch_size=20, verbose=0, callbacks=[tf_reg.TargetSparsity(0.5)])
    assert int((layer.weight == 0).sum()) == tf_reg.sparsity(model).total.zeros == 3


def test_every_row_of_the_page_is_tested_and_the_other_way_round():
    assert covered(sys.modules[__name__]) == rows("PyTorch")
