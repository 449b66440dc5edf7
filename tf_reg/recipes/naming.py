"""The name of a run that has none."""

from __future__ import annotations

from pathlib import Path

from tf_reg_cli.config import Config

MOST = 50  # characters of the name of a file or a folder


def stem(config: Config) -> str:
    """Return what a run is called: the data, the network and the methods, as `digits-mlp-l1`.

    Args:
        config: The configuration.
    """
    dataset = config.dataset.replace("/", "-")
    if config.dataset.startswith("folder:"):
        dataset = Path(config.dataset.removeprefix("folder:")).resolve().name[:MOST]
    elif config.is_table:
        dataset = Path(config.dataset.partition(":")[2] or config.dataset).stem[:MOST]
    return "-".join([dataset, config.model, *config.methods])
