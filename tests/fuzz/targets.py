"""What is fuzzed: a function, what its arguments take, and how a right answer is told from a wrong one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.fuzz.domains import Domain
from tests.fuzz.odd_values import ANYTHING, NEAR


class Given(NamedTuple):
    """One value of an argument.

    Args:
        value: What is given.
        verdict: "right"; "wrong", which must give an error; "odd", of which only an oracle can tell.
        plain: A right one in plain Python or float64.
    """

    value: Any
    verdict: str
    plain: Any = None


@dataclasses.dataclass(frozen=True)
class Target:
    """A function under test.

    Args:
        name: As the counts show it.
        call: The function.
        domains: What each argument takes.
        needed: The arguments that must be given.
        check: Called with the answer and the arguments (the plain values of right ones) where all are right.
        odd: Strategies of odd values, by argument, beside `ANYTHING`.
        dear: Whether it trains, writes or compiles.
        refuses: How the documented error begins that right values can give, as a regular expression.
        aliases: Other words for arguments in messages, as regular expressions.
        partial: Whether `check` is right also where some arguments are odd; it is given those that are right.
        also: Documented errors besides `ValueError` and `TypeError`.
    """

    name: str
    call: Callable[..., Any]
    domains: Mapping[str, Domain]
    needed: tuple[str, ...] = ()
    check: Callable[[Any, dict[str, Any]], None] | None = None
    odd: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dear: bool = False
    also: tuple[type[Exception], ...] = ()
    refuses: str = "no right values at all"
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    partial: bool = False


@st.composite
def arguments(draw, target: Target) -> dict[str, Given]:
    """The arguments of one case: most are right, in one form or another, and up to three are anything."""
    names = list(target.domains)
    number = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
    odd = draw(st.permutations(names))[:number]
    given = {}
    for name, domain in target.domains.items():
        if name in odd:
            wanted = [ANYTHING, ANYTHING, NEAR, *([target.odd[name]] * 3 if name in target.odd else [])]
            value = draw(draw(st.sampled_from(wanted)))
            given[name] = Given(value, "odd" if domain.could(value) else "wrong")
        elif name in target.needed or draw(st.booleans()):
            value, plain = draw(domain.right)
            given[name] = Given(value, "right", plain)
    return given
