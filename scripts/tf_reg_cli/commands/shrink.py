"""`tf-reg shrink`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tf_reg_cli.checks import Must
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.files import find
from tf_reg_cli.start import quiet_start

FOLDER_NAME = Must(
    lambda text: text not in ("", "..") and Path(text).name == text, "the name of a folder, such as flowers"
)
COUNT = Must(lambda n: 1 <= n < 2**31, "1 or more")
CANDIDATES = Must(lambda n: 1 <= n <= 100, "from 1 to 100")
DROP = Must(lambda x: 0 < x < 1, "between 0 and 1")
LEVEL = Must(lambda x: 0 < x < 0.5, "between 0 and 0.5")
RATE = Must(lambda x: 0 < x < float("inf"), "above 0")


@Parameter("*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of `tf-reg shrink`."""

    max_drop: Annotated[
        float,
        Parameter(help="by how much the accuracy may fall (default: 0.005)", metavar="SHARE", validator=DROP),
    ] = 0.005
    level: Annotated[
        float,
        Parameter(help="probability that it falls by more, at most (default: 0.05)", metavar="P", validator=LEVEL),
    ] = 0.05
    penalty: Annotated[
        Literal["channels", "units", "inputs", "weights"],
        Parameter(help="what the penalty removes (default: channels)"),
    ] = "channels"
    no_distill: Annotated[
        bool, Parameter(help="learn the labels alone, and not the answers of the run's model", negative=())
    ] = False
    candidates: Annotated[
        int,
        Parameter(help="smaller models to try (default: 6)", metavar="N", converter=whole, validator=CANDIDATES),
    ] = 6
    refit_epochs: Annotated[
        int,
        Parameter(help="epochs for each of them (default: 30)", metavar="N", converter=whole, validator=COUNT),
    ] = 30
    learning_rate: Annotated[float, Parameter(help="of Adam (default: 0.001)", metavar="RATE", validator=RATE)] = 1e-3
    name: Annotated[
        str | None,
        Parameter(help="the new run's name (default: the run's, with -shrunk)", metavar="TEXT", validator=FOLDER_NAME),
    ] = None
    runs_dir: Annotated[
        Path | None, Parameter(help="(default: where the run lies)", metavar="DIR", converter=to_path)
    ] = None
    saved_models_dir: Annotated[Path, Parameter(help="(default: saved_models)", metavar="DIR", converter=to_path)] = (
        Path("saved_models")
    )
    quiet: Annotated[bool, Parameter(help="print the table alone", negative=())] = False


def command(
    source: Annotated[Path, Parameter(help="a run's folder", converter=to_path)],
    /,
    *,
    options: Options | None = None,
) -> int:
    """Find the smallest model whose validation accuracy provably falls by less than --max-drop, and export it.

    Smaller models are made from the run's model and tested on the run's validation images. A new run has all of them
    (shrink/), the smallest one that passed (model.keras) and metrics.json. That one is exported for TensorFlow Serving.
    Interrupted, the same command goes on where it stopped. Exit code 1 if none passed: then nothing is exported.

    A small drop takes many validation images: train with --validation-split 0.3, for instance.

    For example:

      tf-reg shrink runs/fashion_mnist-cnn-none
      tf-reg shrink runs/digits-mlp-none --max-drop 0.05
    """
    options = options or Options()
    found = find(source)
    if found.run is None:
        raise UserError(f"{source} is no run: shrink needs its data, which config.json in the folder of a run names.")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with quiet_start():
            from tf_reg.recipes import shrink_run
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. Nothing was written.") from None
    places = (options.name, options.runs_dir, options.saved_models_dir, options.learning_rate)
    names = ("max_drop", "level", "penalty", "candidates", "refit_epochs")
    wanted = {name: getattr(options, name) for name in names}
    print(
        shrink_run.shrink_run(found, *places, verbose=int(not options.quiet), distill=not options.no_distill, **wanted)
    )
    return 0
