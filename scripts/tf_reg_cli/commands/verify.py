"""`tf-reg verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path
from tf_reg_cli.start import quiet_start


def command(
    versions: Annotated[
        tuple[Path, ...],
        Parameter(
            help="folders such as saved_models/m/1",
            required=True,
            converter=to_path,
        ),
    ],
    /,
    *,
    cpu: Annotated[bool, Parameter(help="allow operations without a GPU kernel", negative=())] = False,
    server: Annotated[
        Literal["2.18", "2.19", "2.20", "2.21"] | None,
        Parameter(help="the version of TensorFlow Serving that must be able to read them (default: any)"),
    ] = None,
) -> int:
    """Check versions of a model as TensorFlow Serving loads and runs them. Exit code 1 if one isn't what it should be.

    For example:

      tf-reg verify saved_models/digits-mlp-l1l2/1
      tf-reg verify saved_models/digits-mlp-l1l2/1 --server 2.20
    """
    for version in versions:
        if not version.is_dir():
            raise UserError(f"{version} is no folder of a version, such as saved_models/m/1.")
    with quiet_start():
        from tf_reg.serving.verify import verification
    for number, version in enumerate(versions):
        try:
            found = verification.verify(version, gpu=not cpu, server=server)
            print(("\n" if number else "") + str(found), flush=True)
        except verification.VerificationError as error:
            print(f"tf-reg verify: {error}".replace("gpu=False", "--cpu"), file=sys.stderr)
            return 1
    return 0
