"""Collects the faults of a configuration: each once, without those that only follow from another."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from settings.fields import Problem, UnreadError


class Report:
    """The problems of a configuration, in the order found.

    A value at fault is judged once: what a rule says of the default that stands for it is dropped.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._at_fault: set[str] = set()
        self._numbering: dict[str, tuple[int, ...]] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        """Take faults that follow from nothing else."""
        self.problems += problems
        self.suspect(problem.key for problem in self.problems)

    def suspect(self, keys: Iterable[str]) -> None:
        """Count keys as at fault that are reported under another: the right one of a misspelt key."""
        self._at_fault |= set(keys)

    def renumber(self, numbering: Mapping[str, tuple[int, ...]]) -> None:
        """From now on name list items by their places in the config.

        `numbering` has, for the key of each list of which items were left out, the places of the others; outer lists
        come before the lists in them.
        """
        self._numbering |= numbering

    def judge(self, *rules: Iterable[Problem]) -> None:
        """Take what rules find, each up to a value that could not be read, and drop what follows from earlier faults.

        What one of `rules` finds drops nothing of the others.
        """
        found = [self._numbered(problem) for rule in rules for problem in _readable(rule)]
        self.add([problem for problem in found if not self._follows(problem)])

    def _follows(self, problem: Problem) -> bool:
        return any(_related(key, faulty) for key in (problem.key, *problem.because) for faulty in self._at_fault)

    def _numbered(self, problem: Problem) -> Problem:
        for key, places in self._numbering.items():
            item = re.compile(rf"(?<![\w.]){re.escape(key)}\[(\d+)\]")

            def original(match: re.Match[str], key: str = key, places: tuple[int, ...] = places) -> str:
                return f"{key}[{places[int(match[1])]}]"

            problem = replace(
                problem,
                key=item.sub(original, problem.key),
                reason=item.sub(original, problem.reason),
                because=tuple(item.sub(original, key) for key in problem.because),
            )
        return problem


def _readable(rule: Iterable[Problem]) -> Iterator[Problem]:
    """The faults that a rule finds before it needs a value that could not be read."""
    with suppress(UnreadError):
        yield from rule


def _related(one: str, other: str) -> bool:
    """Whether two keys are the same, or one holds the other."""
    shorter, longer = sorted((one, other), key=len)
    return longer == shorter or (longer.startswith(shorter) and longer[len(shorter)] in ".[")
