"""What a rehearsal shows at the terminal: steps with their usual and real time, and errors in words."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.status import Status

OUT = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass
class Step:
    """A step that goes on; `result` is what its line says in the end."""

    title: str
    usual_seconds: int
    status: Status | None
    result: str = "done"

    def doing(self, text: str) -> None:
        """Show what goes on right now; on a terminal only."""
        if self.status:
            self.status.update(f"{self.title} (usually {self.usual_seconds} s)  {text.strip()[:80]}")


@dataclass
class Steps:
    """The steps of one command; `seconds` by title."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str, usual_seconds: int) -> Iterator[Step]:
        """One step: a spinner while it runs, a line with its time when it is done."""
        started = time.monotonic()
        if sys.stderr.isatty():
            with ERR.status(f"{title} (usually {usual_seconds} s)") as status:
                step = Step(title, usual_seconds, status)
                yield step
        else:
            step = Step(title, usual_seconds, None)
            yield step
        self.seconds[title] = time.monotonic() - started
        ERR.print(f"{title:<16} {self.seconds[title]:5.1f} s  {step.result}", markup=False)

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())
