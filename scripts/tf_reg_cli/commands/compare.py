"""`tf-reg compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from tf_reg_cli.checks import Must, flag
from tf_reg_cli.config import Flags
from tf_reg_cli.config_file import ConfigFile, configured
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.start import quiet_start

OF_A_RUN = ("mc_samples", "compact", "baseline", "name", "runs_dir", "saved_models_dir", "quiet")
GROUP = Group("Comparison", sort_key=0)
Results = Annotated[
    Path, Parameter(help="(default: runs/compare.jsonl)", metavar="FILE", group=GROUP, converter=to_path)
]


def command(
    *,
    flags: Annotated[Flags | None, Parameter("*")] = None,
    config: ConfigFile = None,
    study: Annotated[
        Literal["methods", "zeros"],
        Parameter(
            help="methods: every method's accuracy; zeros: exact zeros and what they save (default: methods)",
            group=GROUP,
        ),
    ] = "methods",
    seeds: Annotated[
        int,
        Parameter(
            help="seeds to report (default: 5)",
            metavar="N",
            converter=whole,
            group=GROUP,
            validator=Must(lambda n: n >= 1, "1 or more"),
        ),
    ] = 5,
    results: Results = Path("runs/compare.jsonl"),
) -> int:
    """Compare regularisation methods on one data set and network, and print a table in Markdown.

    Takes the flags of train besides its own, but for those of what a run writes: there are no runs. Each training's
    result goes into a file at once: interrupted, the same command goes on where it stopped.

    For example:

      tf-reg compare --dataset fashion_mnist --train-size 2000 --epochs 25 --seeds 5
      tf-reg compare --study zeros --dataset fashion_mnist --hidden 300 100
    """
    for name in [name for name in OF_A_RUN if name in (flags or {})]:
        raise UserError(f"{flag(name)} does nothing in a comparison, which writes no runs and no models. Leave it out.")
    base = configured(flags or {}, config)
    if base.is_table:
        raise UserError(f"compare has methods for images. --dataset {base.dataset} is a table. Take tf-reg train.")
    try:
        with quiet_start():
            from tf_reg.recipes import comparison
        chosen = comparison.STUDIES[study]
        rows = comparison.compare(base, seeds, comparison.Trials(results), chosen)
        for line in comparison.markdown(rows, chosen):
            print(line, flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. The same command goes on from here.") from None
    return 0
