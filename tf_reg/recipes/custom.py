"""Saved models, with classes and functions of a user's own that are found by name: `module:Class`."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from tf_reg.serving.write.watch import reason
from tf_reg_cli.checks import did_you_mean
from tf_reg_cli.errors import UserError


def load(names: Iterable[str]) -> dict[str, Any]:
    """Import classes and functions, and return them as Keras' `custom_objects`.

    A module may lie in the current folder.

    Args:
        names: Each is `module:Class`.

    Raises:
        UserError: There is no such module, importing it fails, or the name is missing in it or no class or function.
    """
    return {name.partition(":")[2]: _found(name) for name in names}


def _found(name: str) -> Any:
    module_name, _, wanted = name.partition(":")
    module = _imported(module_name, name)
    if not hasattr(module, wanted):
        hint = did_you_mean(wanted, [one for one in vars(module) if not one.startswith("_")])
        raise UserError(f"--custom {name}: the module {module_name} has no {wanted}. {hint}".rstrip())
    found = getattr(module, wanted)
    if not inspect.isclass(found) and not inspect.isroutine(found):
        raise UserError(
            f"--custom {name}: expected a class, such as one of keras.Layer, or a function. Received: {wanted} is of "
            f"the type {type(found).__name__}."
        )
    return found


def _imported(module: str, name: str) -> Any:
    here = os.getcwd()
    sys.path.insert(0, here)  # as `python -m` does
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"--custom {name}: importing {module} fails: {reason(error)}") from error
        raise UserError(
            f"--custom {name}: there is no module {error.name} in the folder {here}, nor installed."
        ) from error
    except Exception as error:  # a module can raise anything
        raise UserError(
            f"--custom {name}: importing {module} fails: {type(error).__name__}: {reason(error)}"
        ) from error
    finally:
        sys.path.remove(here)
        sys.path.append(here)  # for what its functions import later


def load_model(
    file: Path, classes: Iterable[str] = (), unsafe_lambda: bool = False, compiled: bool = True
) -> keras.Model:
    """Load a saved model.

    Args:
        file: A `.keras` file.
        classes: Classes and functions of the user's own in the model, each `module:Class`.
        unsafe_lambda: Whether code that lies in the file itself may run, as that of a `Lambda` layer does.
        compiled: Whether to compile it as it was.

    Raises:
        UserError: It can't be loaded.
    """
    known = load(classes)
    try:
        return keras.saving.load_model(file, known, compile=compiled, safe_mode=not unsafe_lambda)
    except Exception as error:  # a class of a user's own can raise anything
        raise UserError(f"{file} can't be loaded as a Keras model: {_why(error)}") from error


def _why(error: Exception) -> str:
    why = reason(error)
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", why)
    if unknown:
        name = unknown[1].rpartition(">")[2]
        return (
            f"{name} is neither of Keras nor of tf_reg. Say where it is by --custom MODULE:{name}; MODULE.py may lie "
            "in the current folder."
        )
    if "Lambda" in why and "disallowed" in why:
        return (
            "it has a layer, such as Lambda, whose code lies in the file and would run here. Pass --unsafe-lambda if "
            "you trust whoever made the file."
        )
    if "disallowed" in why:
        return f"Keras' safe mode refuses it. {why}"
    return why
