"""Settings that no flag gives: they depend on the number of training images, and are numbers before training begins."""

import dataclasses
import math

import pytest

from tf_reg_cli import defaults
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import SPARSE


def test_few_images_have_more_epochs_and_a_higher_rate():
    small, large = (defaults.filled(Config(), size) for size in (9_999, 10_000))
    assert (small.epochs, small.learning_rate) == defaults.SMALL
    assert (large.epochs, large.learning_rate) == defaults.LARGE
    assert defaults.filled(Config(model="VGG16"), 100).learning_rate == defaults.LARGE.learning_rate


@pytest.mark.parametrize("reg", ["l2", *SPARSE])
def test_strengths_fall_with_the_number_of_images(reg):
    found = [defaults.filled(Config(reg=reg), size) for size in (1_000, 10_000)]
    strengths = [name for name in defaults.OF_PENALTY[reg] if name in defaults.STRENGTHS]
    for name in strengths:
        some, more = (getattr(config, name) for config in found)
        assert some == pytest.approx(defaults.STRENGTHS[name] / math.sqrt(1_000), rel=0.05)
        assert more == pytest.approx(some / math.sqrt(10), rel=0.05)
    others = set(defaults.STRENGTHS) - set(strengths)
    assert strengths
    assert {getattr(found[0], name) for name in others} == {None}


def test_concave_penalties_are_flat_from_the_same_weight_on():
    for options, name, slope in (
        ({"reg": "mcp"}, "mcp_gamma", "mcp"),
        ({"reg": "mcp", "mcp": 0.02}, "mcp_gamma", "mcp"),
        ({"reg": "scad"}, "scad_a", "scad"),
    ):
        config = defaults.filled(Config(**options), 1_300)
        assert getattr(config, name) * getattr(config, slope) == pytest.approx(defaults.FLAT_FROM)
    assert defaults.filled(Config(reg="mcp", mcp=0.0), 1_300).mcp_gamma > 0
    assert defaults.filled(Config(reg="scad", scad=1.0), 1_300).scad_a > 1


def test_what_is_given_stays_and_all_is_filled_once():
    given = Config(reg="l1", l1=0.5, epochs=3, learning_rate=0.1)
    assert defaults.filled(given, 100) == given
    once = defaults.filled(Config(reg="sparse-group"), 100)
    assert defaults.filled(once, 50_000) == once


def test_a_flag_that_contradicts_a_default_is_one_sentence():
    with pytest.raises(UserError, match="--refit-epochs must leave some of the 20 --epochs before it"):
        defaults.filled(Config(reg="l1", refit_epochs=30), 54_000)


def test_the_line_of_settings():
    config = Config(reg="l1", learning_rate=0.005, l1=3e-3)
    assert defaults.words(config, 1_294) == "1,294 training images: --epochs 60 --refit-epochs 20"
    assert defaults.words(Config(epochs=2, learning_rate=0.1), 100) == "100 training images"


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"reg": "l1"}, 4),
        ({"reg": "channels", "strength_schedule": "rise"}, 4),
        ({"reg": "l1", "refit_epochs": 0}, 0),
        ({"reg": "l1", "refit_epochs": 5}, 5),
        ({"reg": "l1", "proximal": False}, 0),
        ({"reg": "l2", "proximal": True}, 0),
        ({"reg": "l1", "early_stopping": 5}, 0),
        ({"reg": "l1", "strength_schedule": "gap"}, 0),
        ({}, 0),
    ],
)
def test_a_third_refits_where_zeros_are_made(options, epochs):
    assert defaults.refit_epochs(Config(epochs=12, **options)) == epochs
    assert defaults.refit_epochs(dataclasses.replace(Config(**options), epochs=2, refit_epochs=None)) == 0
