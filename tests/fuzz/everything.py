"""All that is fuzzed, and how many cases each gets."""

import dataclasses
import inspect
import operator

import tf_reg
from tests.fuzz import dear_targets, function_targets, layer_targets, penalty_targets
from tests.fuzz.targets import Target

CHEAP = [*penalty_targets.TARGETS, *layer_targets.TARGETS, *function_targets.TARGETS]
DEAR = dear_targets.TARGETS
BY_NAME = {target.name: target for target in [*CHEAP, *DEAR]}


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many cases a function gets.

    Args:
        cheap: One that answers at once.
        dear: One that trains, compiles or writes.
    """

    cheap: int
    dear: int

    def cases(self, target: Target) -> int:
        return self.dear if target.dear else self.cheap


WHOLE = Plan(cheap=200, dear=20)  # the 10,000 and more
SLOW = Plan(cheap=40, dear=4)


def missing_arguments() -> list[str]:
    """The arguments of public functions and classes that no target fuzzes."""
    found = []
    for name in [*tf_reg.__all__, *(f"tf1.{one}" for one in tf_reg.tf1.__all__)]:
        if name == "tf1":
            continue
        for argument, how in inspect.signature(operator.attrgetter(name)(tf_reg)).parameters.items():
            if how.kind not in (how.VAR_KEYWORD, how.VAR_POSITIONAL) and argument not in BY_NAME[name].domains:
                found.append(f"{name}.{argument}")
    return found
