"""All that is fuzzed."""

import dataclasses
import inspect
import operator

import tf_reg
from tests.fuzz import (
    dear_targets,
    layer_targets,
    model_targets,
    penalty_targets,
    regularizer_targets,
    selection_targets,
    table_targets,
)  # fmt: skip
from tests.fuzz.targets import Target
from tests.right_calls import CALLS

_AT_ONCE = (penalty_targets, layer_targets, model_targets, regularizer_targets, table_targets)
_DEAR = (dear_targets, selection_targets)
TARGETS = [
    *(target for module in _AT_ONCE for target in module.TARGETS),
    *(dataclasses.replace(target, dear=True) for module in _DEAR for target in module.TARGETS),
]
BY_NAME: dict[str, Target] = {target.name: target for target in TARGETS}


def not_fuzzed() -> set[str]:
    """The arguments of public functions and classes that no target has."""
    found = set()
    for name in [*CALLS, "export", "verify_saved_model"]:
        for argument, how in inspect.signature(operator.attrgetter(name)(tf_reg)).parameters.items():
            if how.kind not in (how.VAR_KEYWORD, how.VAR_POSITIONAL) and argument not in BY_NAME[name].domains:
                found.add(f"{name}.{argument}")
    return found
