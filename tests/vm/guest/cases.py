"""The list of cases: name, group, what it shows, how long it may take."""

from dataclasses import dataclass
from typing import Callable


@dataclass
class Case:
    name: str
    group: str
    shows: str
    limit: int
    run: Callable


CASES = []


def case(group, limit=180):
    """A case: a function of a `Line`. Its docstring says what it shows; what it returns is shown in the report."""

    def keep(function):
        name = function.__name__.replace("_", "-")
        CASES.append(Case(name, group, " ".join(function.__doc__.split()), limit, function))
        return function

    return keep
