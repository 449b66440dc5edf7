"""`tf-reg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tf_reg_cli.checks import Must, flag
from tf_reg_cli.config import Flags
from tf_reg_cli.config_file import ConfigFile, configured
from tf_reg_cli.devices import CoordinatorFlag, DevicesFlag, Placement, ProcessesFlag, ProcessFlag
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.files import require, weights
from tf_reg_cli.start import quiet_start
from tf_reg_cli.unfinished import config_of

COUNT = Must(lambda n: 1 <= n < 2**31, "1 or more")
ResumedRun = Annotated[
    Path | None,
    Parameter(
        metavar="RUN",
        help="the folder of a run that was interrupted, to go on with, by its own settings",
        group="Output",
        converter=to_path,
    ),
]
Every = Annotated[
    int | None,
    Parameter(
        metavar="N",
        help="save a checkpoint every N batches too, and not at the end of each epoch alone",
        group="Output",
        converter=whole,
        validator=COUNT,
    ),
]


def command(
    *,
    flags: Annotated[Flags | None, Parameter("*")] = None,
    config: ConfigFile = None,
    resume: ResumedRun = None,
    checkpoint_every: Every = None,
    devices: DevicesFlag = None,
    num_processes: ProcessesFlag = None,
    process_id: ProcessFlag = None,
    coordinator: CoordinatorFlag = None,
) -> int:
    """Train a regularised classifier of images, or a model of a table; write what it learned, its curves, a SavedModel.

    A run writes runs/<name>/ with config.json, metrics.json, history.csv, model.keras and pictures. Per epoch,
    history.csv has loss (with penalty), data_loss (without), accuracy, penalty, sparsity (the share of weights that are
    exactly zero), strength (the factor of the penalty), zero_share (what --target-sparsity counts, as it stood when
    the factor last moved) and refit (1 while zeros are kept and the rest is fitted without penalty).

    The table at the end counts live parameters: those that remain when all that has no effect is cut out. --compact
    cuts it out: the SavedModel computes the same with fewer units and filters. model.keras stays as it was trained,
    compact.keras lies beside it, and a second table compares both.

    The first line has the settings that no flag gives: they depend on the number of training images. The last line says
    what a penalty has gained and what it has cost, beside the same training without it (--baseline).

    A run that was interrupted, however it was, goes on with --resume: it ends as it would have ended.

    --devices all trains on all GPUs of the machine. With --num-processes the same command runs on each of several
    machines. Either way every example is seen once an epoch, and the batches are those of one device.

    For example:

      tf-reg train --reg l1l2
      tf-reg train --dataset fashion_mnist --model cnn --dropout 0.5
      tf-reg train --reg group --compact
      tf-reg train --dataset csv:sales.csv --target price --reg group
      tf-reg train --resume runs/digits-mlp-l1l2
      tf-reg train --dataset fashion_mnist --model cnn --devices all
    """
    placement = Placement(devices, num_processes, process_id, coordinator)
    given = [flag(name) for name in flags or {}] + (["--config"] if config else [])
    if resume and given:
        raise UserError(f"--resume goes on with the settings of the run. Leave out {', '.join(given)}.")
    wanted = config_of(resume) if resume else configured(flags or {}, config)
    require(wanted.weights and weights(wanted.weights), "--weights")
    try:
        with quiet_start():
            from tf_reg.recipes import run
        result = run.run(wanted, resume, checkpoint_every, placement)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or "Interrupted before anything was written.") from None
    if result is None:
        return 0
    compaction = "".join(f"\n{text}\n" for text in (result.columns, result.compaction) if text)
    print(f"\n{result.table()}\n{compaction}\nrun         {result.folder}\nSavedModel  {result.saved_model}")
    if result.gain:
        print(f"\n{result.gain}")
    return 0
