"""The last line of a run: what is left of the network, how right it is, and how right it would be without penalty."""

import dataclasses

import keras
import pytest

from tf_reg.recipes import gain, training
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import filled

FOUND = {
    "weights": 9_472, "weights_left": 1_231, "parameters": 9_610, "live_parameters": 1_898, "test_accuracy": 350 / 360,
    "test_size": 360,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({"reg": "l1"}, {}, "13 % of the weights left, 97.2 % test accuracy"),
        (
            {"reg": "l1l2"},
            {"baseline_test_accuracy": 351 / 360},
            "13 % of the weights left, 97.2 % test accuracy (97.5 % without the penalty)",
        ),
        (
            {"reg": "lq"},
            {"baseline_test_accuracy": 350 / 360 + 1e-7},
            "13 % of the weights left, the same test accuracy as without the penalty: 97.2 %",
        ),
        ({"reg": "group"}, {}, "20 % of the parameters left, 97.2 % test accuracy"),
        ({"reg": "channels"}, {}, "20 % of the parameters left, 97.2 % test accuracy"),
        ({"reg": "mcp", "groups": "inputs"}, {}, "20 % of the parameters left, 97.2 % test accuracy"),
        ({"reg": "l1", "compact": True}, {}, "20 % of the parameters left, 97.2 % test accuracy"),
        (
            {"reg": "l1", "target_sparsity": 0.8, "target_of": "flops"},
            {},
            "20 % of the parameters left, 97.2 % test accuracy",
        ),
        ({"reg": "l1"}, {"weights_left": 9_472}, "100 % of the weights left, 97.2 % test accuracy"),
        ({"reg": "l1"}, {"weights_left": 0}, "0 % of the weights left, 97.2 % test accuracy"),
        ({"reg": "l1"}, {"weights_left": 9_444}, "99.7 % of the weights left, 97.2 % test accuracy"),
        ({"reg": "l1"}, {"weights_left": 40}, "0.42 % of the weights left, 97.2 % test accuracy"),
        ({"reg": "l2"}, {}, ""),
        ({}, {}, ""),
    ],
)
def test_the_last_line(options, more, said):
    line = gain.words(FOUND | more, Config(**options))
    assert line == said
    assert len(line) <= 80


SMALL = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])


@pytest.mark.parametrize(
    ("options", "images", "wanted"),
    [
        ({"reg": "l1"}, 1_300, True),
        ({"reg": "l1"}, 1_000_000, False),  # that would take a while
        ({"reg": "l1", "baseline": True}, 1_000_000, True),
        ({"reg": "l1", "baseline": False}, 1_300, False),
        ({"reg": "l2"}, 1_300, False),
        ({"reg": "l2", "baseline": True}, 1_300, True),
        ({}, 1_300, False),
        ({"baseline": True}, 1_300, False),
    ],
)
def test_when_a_baseline_is_trained(options, images, wanted):
    assert gain.wants_baseline(SMALL, filled(Config(**options), images), images) is wanted


def test_the_baseline_has_no_penalty_and_all_else(monkeypatch):
    trained = []

    def prepare(config):
        trained.append(config)
        raise StopIteration

    monkeypatch.setattr(training, "prepare", prepare)
    config = Config(
        model="cnn", reg="channels", channel_lasso=0.1, target_sparsity=0.5, target_of="channels", exact_target=True,
        round_to=8, dual_averaging=True, dropout=0.5, weight_decay=0.1, epochs=7, seed=3, refit_epochs=2,
    )  # fmt: skip
    with pytest.raises(StopIteration):
        gain.baseline(config)
    expected = Config(model="cnn", channel_lasso=0.1, dropout=0.5, weight_decay=0.1, epochs=7, seed=3)
    assert dataclasses.asdict(trained[0]) == dataclasses.asdict(expected)
