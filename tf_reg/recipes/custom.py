"""Classes and functions of a user's own, found by name: `module:Class`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterable
from typing import Any

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
