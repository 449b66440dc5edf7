"""`tf-reg serving-config`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tf_reg_cli.checks import Must
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path
from tf_reg_cli.start import quiet_start

LABELLED = Must(lambda text: re.fullmatch(r"[^=]*=[0-9]+", text) is not None, "LABEL=VERSION, such as stable=1")


def command(
    base: Annotated[
        Path,
        Parameter(
            help="the model's base folder, such as saved_models/m",
            converter=to_path,
        ),
    ],
    /,
    *,
    label: Annotated[
        tuple[str, ...],
        Parameter(
            help="a label and the version that has it; may be given several times",
            metavar="LABEL=VERSION",
            validator=LABELLED,
        ),
    ] = (),
) -> int:
    """Say which versions of a model TensorFlow Serving serves under which label; without labels, the newest one.

    The server reads the file models.config again and switches.

    For example:

      tf-reg serving-config saved_models/m --label stable=1 --label canary=2
    """
    labels = [(name, int(version)) for name, version in (text.split("=") for text in label)]
    names = [name for name, _ in labels]
    if len(set(names)) < len(names):
        raise UserError(f"Each label has one version. Received: {', '.join(names)}.")
    if not base.is_dir():
        raise UserError(f"{base} is no base folder of a model, such as saved_models/m.")
    with quiet_start():
        from tf_reg.serving import server_config
    try:
        print(server_config.label(base, dict(labels)).read_text(), end="")
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    return 0
