"""What tells the contents of a data set from others, for results that are remembered."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import FILES_OF_TABLES


def fingerprint(dataset: str) -> str:
    """Return the name of a data set with a hash of its contents in the place of its path.

    The names of data sets that aren't files of the user's stay as they are. Of a folder of images, the names and the
    sizes of the files count, and of a table all its bytes.

    Args:
        dataset: As `--dataset` takes it.

    Raises:
        UserError: The file or the folder can't be read.
    """
    kind, _, path = dataset.partition(":")
    if kind not in ("folder", *FILES_OF_TABLES):
        return dataset
    try:
        if kind == "folder":
            files = sorted(file for file in Path(path).rglob("*") if file.is_file())
            listed = "".join(f"{file.relative_to(path)}\0{file.stat().st_size}\0" for file in files)
            return f"{kind}:{hashlib.sha256(listed.encode()).hexdigest()[:16]}"
        state = Path(path).stat()
        return f"{kind}:{_of_file(path, state.st_mtime_ns, state.st_size)}"
    except OSError as error:
        raise UserError(f"--dataset {dataset} can't be read: {error.strerror or error}.") from error


@functools.lru_cache(maxsize=8)
def _of_file(path: str, modified: int, size: int) -> str:
    """Return the hash of a file; it is read again when it has changed."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
