"""Collects the faults of a configuration: each once, without those that only follow from another."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from settings.fields import Problem, readable
from settings.stack import Settings
from settings.unread import without

Rule = Callable[[Settings], Iterable[Problem]]


class Report:
    """The problems of a configuration, in the order found.

    A value at fault is judged once: what a rule finds only by reading the default that stands for it is dropped.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._at_fault: set[str] = set()
        self._numbering: dict[str, tuple[int, ...]] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        """Take faults that follow from nothing else; several of one value become one."""
        for problem in problems:
            self._at_fault.add(problem.key)
            for place, other in enumerate(self.problems):
                if (other.key, other.value) == (problem.key, problem.value):
                    if problem.reason not in other.reason:
                        self.problems[place] = replace(other, reason=f"{other.reason}; and it {problem.reason}")
                    break
            else:
                self.problems.append(problem)

    def suspect(self, keys: Iterable[str]) -> None:
        """Count keys as at fault that are reported under another: the right one of a misspelt key."""
        self._at_fault |= set(keys)

    def renumber(self, numbering: Mapping[str, tuple[int, ...]]) -> None:
        """From now on name list items by their places in the config.

        `numbering` has, for the key of each list of which items were left out, the places of the others; outer lists
        come before the lists in them.
        """
        self._numbering |= numbering

    def judge(self, settings: Settings, *rules: Rule) -> None:
        """Take what rules find, each up to a value that could not be read, and drop what follows from earlier faults.

        What one of `rules` finds drops nothing of the others.
        """
        self.add([problem for rule in rules for problem in self._independent(rule, settings)])

    def _independent(self, rule: Rule, settings: Settings) -> Iterator[Problem]:
        """What a rule finds of values that are as they stand in the config."""
        unread: dict[str, set[tuple[str, str, str]]] = {}
        for problem in self._found(rule, settings):
            for faulty in self._at_fault:
                if _holds(faulty, problem.key):
                    break
                if any(_holds(key, faulty) or _holds(faulty, key) for key in (problem.key, *problem.because)):
                    # `because` may name more than was read: only what is not found without the value rests on it.
                    if faulty not in unread:
                        judged = without(settings, faulty, self._numbering)
                        unread[faulty] = set(map(_said, self._found(rule, judged)))
                    if _said(problem) not in unread[faulty]:
                        break
            else:
                yield problem

    def _found(self, rule: Rule, settings: Settings) -> Iterator[Problem]:
        return map(self._numbered, readable(rule(settings)))

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


def _said(problem: Problem) -> tuple[str, str, str]:
    """What a problem says, but for its example."""
    return problem.key, repr(problem.value), problem.reason


def _holds(one: str, other: str) -> bool:
    """Whether a key is another, or holds it."""
    return other.startswith(one) and (len(other) == len(one) or other[len(one)] in ".[")
