"""`tf-reg compare`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from tf_reg_cli.checks import Must, flag
from tf_reg_cli.config import Config, Flags
from tf_reg_cli.config_file import ConfigFile, configured
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.roles import AFTERWARDS, AROUND
from tf_reg_cli.start import quiet_start

OF_A_RUN = [name for name in (*AFTERWARDS, *AROUND) if name != "data_dir"]
GROUP = Group("Comparison", sort_key=0)
LINEAR = "linear"
Results = Annotated[
    Path | None,
    Parameter(
        help="where results go; the pictures and the report go beside it (default: runs/compare.jsonl, or "
        "runs/compare-PLAN.jsonl)",
        metavar="FILE",
        group=GROUP,
        converter=to_path,
    ),
]


def command(
    plan: Annotated[
        str | None,
        Parameter(
            help="methods: every method's accuracy; zeros: exact zeros and what they save; tables: the methods for "
            "tables; linear: linear models beside scikit-learn's; or a TOML file made like these (default: methods, or "
            "tables for a table)",
            metavar="PLAN",
            group=GROUP,
        ),
    ] = None,
    *,
    flags: Annotated[Flags | None, Parameter("*")] = None,
    config: ConfigFile = None,
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
    results: Results = None,
) -> int:
    """Compare regularisation methods on one data set and network, and print a table in Markdown.

    Takes the flags of train besides its own, but for those of what a run writes: there are no runs. Each training's
    result goes into a file at once: interrupted, the same command goes on where it stopped. At the end there are
    pictures and a report of HTML beside that file.

    For example:

      tf-reg compare --dataset fashion_mnist --train-size 2000 --epochs 25 --seeds 5
      tf-reg compare zeros --dataset fashion_mnist --hidden 300 100
      tf-reg compare my-plan.toml
      tf-reg compare linear
    """
    given = flags or {}
    for name in [name for name in OF_A_RUN if name in given]:
        raise UserError(f"{flag(name)} does nothing in a comparison, which writes no runs and no models. Leave it out.")
    if plan == LINEAR:
        return _linear(given, config, results or Path("runs/linear.html"))
    base = configured(given, config)
    try:
        _compare(base, plan or ("tables" if base.is_table else "methods"), seeds, results)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. The same command goes on from here.") from None
    return 0


def _compare(base: Config, plan: str, seeds: int, results: Path | None) -> None:
    """Print the table of a comparison, and write its pictures and its report."""
    file = results or Path("runs") / ("compare.jsonl" if plan == "methods" else f"compare-{Path(plan).stem}.jsonl")
    if file.suffix in (".html", ".png"):
        raise UserError(f"--results {file} would be the file of the report. Choose a name that ends with .jsonl.")
    with quiet_start():
        from tf_reg.recipes import comparison, comparison_report
        from tf_reg.recipes import plan as plans
        from tf_reg.recipes.trials import Trials
    chosen = plans.load(plan)
    trials, rows = Trials(file), []

    def remembered() -> Iterator[comparison.Row]:
        for row in comparison.compare(base, seeds, trials, chosen):
            rows.append(row)
            yield row

    for line in comparison.markdown(remembered(), chosen):
        print(line, flush=True)
    print(f"\nreport  {comparison_report.write(rows, chosen, trials, base, file)}")


def _linear(flags: Flags, config: Path | None, results: Path) -> int:
    """Compare linear models with scikit-learn's."""
    for name in [name for name in (*flags, *(["config"] if config else [])) if name != "seed"]:
        raise UserError(
            f"{flag(name)} does nothing in compare linear, which has data and models of its own. Leave it out."
        )
    seed = configured(flags, None).seed
    with quiet_start():
        from tf_reg.recipes import linear_comparison
    fits = linear_comparison.compare(seed)
    print(linear_comparison.text(fits), flush=True)
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
        print(f"\nreport  {linear_comparison.write(fits, results.with_suffix(''))}")
    except OSError as error:
        raise UserError(f"--results {results} can't be written: {error.strerror}. Choose another.") from error
    return 0
