"""What is said, and what is left, of a run that ends before its end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tf_reg.callbacks.checkpoints import CheckpointError
from tf_reg.recipes.stopped import StoppedError
from tf_reg.serving.verify.verification import VerificationError
from tf_reg_cli.errors import FailedError, UserError


@contextlib.contextmanager
def said(folder: Path, checkpoints: Path) -> Iterator[None]:
    """Within the block, an exception becomes a sentence that says where what there is lies, and how to go on.

    Args:
        folder: The folder of the run.
        checkpoints: The folder of its checkpoints.

    Raises:
        UserError: The run can't go on now.
        FailedError: Nothing useful came out; the checkpoints are removed, as the run would fail again.
        KeyboardInterrupt: On Ctrl-C.
    """
    kept = f"What there is lies in {folder}. To go on: tf-reg train --resume {folder}"
    try:
        yield
    except FailedError:
        shutil.rmtree(checkpoints)
        raise
    except CheckpointError as error:
        raise UserError(f"The run can't go on: {error}") from error
    except StoppedError as error:
        raise UserError(f"{error} {kept}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. {kept}") from None
    except BrokenPipeError:  # nobody reads what training prints
        raise
    except OSError as error:
        raise UserError(f"The run can't be written: {error}. {kept}") from error
    except VerificationError as error:
        raise UserError(f"The model can't be exported: {error} It lies in {folder}.") from error
