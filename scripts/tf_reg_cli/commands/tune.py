"""`tf-reg tune`."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from tf_reg_cli import config_file, search_space
from tf_reg_cli.checks import Must, flag
from tf_reg_cli.config import Config, Flags
from tf_reg_cli.config_file import ConfigFile, configured
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.files import require, weights
from tf_reg_cli.roles import AFTERWARDS, AROUND
from tf_reg_cli.start import quiet_start

OF_A_RUN = [name for name in (*AFTERWARDS, *AROUND) if name not in ("data_dir", "name", "runs_dir")]
GROUP = Group("Search", sort_key=-1)
NEEDED = 'Optuna is not installed: pip install -e ".[tune]".'
COUNT = Must(lambda n: 1 <= n < 2**31, "1 or more")
SECONDS = Must(lambda n: 1 <= n <= 3600, "from 1 to 3600")
RETRIES = Must(lambda n: 0 <= n <= 100, "from 0 to 100")


@Parameter("*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of `tf-reg tune` itself."""

    search: Annotated[
        tuple[str, ...],
        Parameter(
            help="what to search: dropout=0:0.5 is a range, model=mlp,cnn are choices; logarithmic from a tenfold "
            "range on (default: strengths, dropout, weight decay and learning rate, as far as no flag gives them)",
            metavar="NAME=VALUES...",
            group=GROUP,
        ),
    ] = ()
    space: Annotated[
        Path | None,
        Parameter(help="the same in a TOML or JSON file", metavar="FILE", group=GROUP, converter=to_path),
    ] = None
    per_layer: Annotated[
        bool,
        Parameter(help="search a factor of the strengths for each layer, 0.1 to 10", group=GROUP, negative=()),
    ] = False
    objectives: Annotated[
        tuple[Literal["accuracy", "data-loss", "live-parameters"], ...],
        Parameter(
            help="what to seek, on validation examples; with several ones the result is the Pareto front, and no trial "
            "ends early (default: accuracy)",
            metavar="WORD...",
            group=GROUP,
        ),
    ] = ("accuracy",)
    trials: Annotated[
        int,
        Parameter(
            help="trials of all processes together (default: 50)",
            metavar="N",
            group=GROUP,
            converter=whole,
            validator=COUNT,
        ),
    ] = 50
    no_prune: Annotated[
        bool, Parameter(help="train every trial to its end: no successive halving", group=GROUP, negative=())
    ] = False
    storage: Annotated[
        str | None,
        Parameter(
            help="a database for several machines, postgresql+psycopg://USER@HOST/DATABASE (default: study.db in the "
            "run's folder)",
            metavar="URL",
            group=GROUP,
        ),
    ] = None
    heartbeat: Annotated[
        int,
        Parameter(
            help="seconds between signs of life; a trial without one for three times as long is lost and repeated "
            "(default: 30)",
            metavar="SECONDS",
            group=GROUP,
            converter=whole,
            validator=SECONDS,
        ),
    ] = 30
    retries: Annotated[
        int,
        Parameter(
            help="how often a lost trial is repeated (default: 2)",
            metavar="N",
            group=GROUP,
            converter=whole,
            validator=RETRIES,
        ),
    ] = 2


def command(
    *,
    flags: Annotated[Flags | None, Parameter("*")] = None,
    options: Options | None = None,
    config: ConfigFile = None,
) -> int:
    """Search for the best settings, with any number of processes on any number of machines.

    Takes the flags of train besides its own: they hold for all trials. Trials are judged by validation examples; test
    examples have no say. Settings are drawn by Optuna's TPE. Trials that fall behind end early (successive halving).

    The study is runs/<name>/study.db, or in --storage. The same command, started again or elsewhere, joins in. Trials
    of a process that has died are repeated. After Ctrl-C the same command goes on. The folder has best.json, which
    train --config takes (front-N.json for each trial N of a Pareto front), and pictures.

    For example:

      tf-reg tune --reg l1
      tf-reg tune --reg group --objectives accuracy live-parameters --trials 100
      tf-reg tune --search reg=l1,group l1=1e-5:1e-2 group_lasso=1e-5:1e-2
      tf-reg tune --reg l1 --storage postgresql+psycopg://me@server/studies
    """
    options, given = options or Options(), dict(flags or {})
    for name in [name for name in OF_A_RUN if name in given]:
        raise UserError(f"{flag(name)} does nothing in a search, which exports no models. Leave it out.")
    base = configured(given, config)
    require(base.weights and weights(base.weights), "--weights")
    space = {} if options.space is None else search_space.from_file(options.space)
    space |= search_space.from_words(options.search)
    if space:
        search_space.checked(space, base, given)
    if len(set(options.objectives)) < len(options.objectives):
        raise UserError("--objectives has a word twice. Leave one out.")
    if find_spec("optuna") is None:
        raise UserError(NEEDED)
    try:
        with quiet_start():
            from tf_reg.recipes.tuning import tune
        wanted = tune.Wanted(
            space or None, options.per_layer, options.objectives, options.trials, not options.no_prune,
            options.storage, options.heartbeat, options.retries,
        )  # fmt: skip
        print(tune.tune(base, set(given) | _of_file(config), set(given), wanted))
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or "Interrupted. The same command goes on from here.") from None
    return 0


def _of_file(file: Path | None) -> set[str]:
    """The settings of a file that aren't the defaults."""
    if file is None:
        return set()
    defaults: dict[str, Any] = dataclasses.asdict(Config())
    return {name for name, value in config_file.read(file).items() if value != defaults[name]}
