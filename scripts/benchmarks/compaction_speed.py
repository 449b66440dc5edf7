"""How fast networks are when half of their channels are dead: as they are, compacted, and built at half their width."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import keras

import tf_reg
from benchmarks import dying, latency, report, timing
from tf_reg_cli.errors import UserError

BATCH, SHARE, SIZE = 64, 0.5, 96
NETWORKS = ("ResNet50", "VGG19", "MobileNet", "DenseNet121")
DENSE, ZEROS, COMPACTED, BUILT, AGAIN = "dense", "zeros", "compacted", "built", "again"


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: Another share than a half.
    """
    if flags.share not in (None, SHARE):
        raise UserError(f"The speed is measured with half of the channels dead. Received: --share {flags.share}.")
    size = flags.size or SIZE
    yield (
        f"Half of the channels of each group that nothing holds are dead (seed {flags.seed}). How many times as fast "
        f"as the dense network, for {BATCH} images of {size} pixels; medians of {flags.repeats} [quartiles], in "
        "turn. `zeros alone` is the network with its dead channels in it, `built` the same architecture with half of "
        "the filters everywhere, `control` the dense network once more. `served` are the SavedModels of "
        "`tf_reg.export`, called through TensorFlow's C API."
    )
    yield ""
    yield from report.header("network", "zeros alone", "compacted", "built", "compacted / built", "control")
    for name in flags.networks or NETWORKS:
        yield from _rows(name, size, flags)


def _rows(name: str, size: int, flags: argparse.Namespace) -> Iterator[str]:
    keras.utils.set_random_seed(flags.seed)
    dense, zeros, half = dying.network(name, size), dying.network(name, size), halved(name, size)
    dying.kill(zeros, SHARE, flags.seed)
    models = {DENSE: dense, ZEROS: zeros, COMPACTED: tf_reg.compact(zeros), BUILT: half, AGAIN: dense}
    for label, measure in ((name, latency.table), (f"{name}, served", latency.served)):
        times = measure(models, BATCH, flags.repeats)
        yield report.row(
            label,
            *(timing.ratio(times, DENSE, arm).show("{:.2f}") for arm in (ZEROS, COMPACTED, BUILT)),
            timing.ratio(times, COMPACTED, BUILT).show("{:.2f}"),
            timing.ratio(times, DENSE, AGAIN).show("{:.2f}"),
        )


def halved(name: str, size: int) -> keras.Model:
    """Return a network of `keras.applications` with half of the filters and units of each layer but the last.

    Args:
        name: Its name.
        size: The pixels of a side of its images.
    """
    model = dying.network(name, size)
    last = model.layers[-1]

    def half(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        for width in ("filters", "units"):
            if width in config and layer.name not in (last.name, "conv_preds"):
                config[width] //= 2
        if isinstance(layer, keras.layers.Reshape) and layer.target_shape[-1] != 1000 and len(layer.target_shape) == 3:
            config["target_shape"] = (*layer.target_shape[:-1], layer.target_shape[-1] // 2)
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=half)
