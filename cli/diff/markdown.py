"""A comparison for a pull request: GitHub Markdown, details folded."""

from collections.abc import Iterator

from cli.diff.objects import Comparison, Difference
from cli.diff.show import SIGNS, folds, groups, headline, rows

LONGEST = 60_000
"""Characters; GitHub takes 65,536 in a comment."""


def markdown(comparison: Comparison, *, full: bool = False) -> str:
    """The comparison as one document; fields that do not fit into a comment are left out, and said to be."""
    shown = [each for each in comparison.differences if full or not each.folded]
    parts = [f"### {headline(comparison)}\n", *(f"{_plain(source)}  " for source in comparison.sources), ""]
    parts += _dangers(comparison)
    parts += _table(shown, full=full)
    parts += [f"_{_plain(text)}_  " for text in folds(comparison)]
    text = "\n".join(parts) + "\n"
    for each in shown:
        details = _details(each, full=full)
        if len(text) + len(details) > LONGEST:
            return text + "\nThe rest is too long for a comment: `./anton diff` shows it.\n"
        text += details
    return text


def _dangers(comparison: Comparison) -> Iterator[str]:
    found = [(each, danger) for each in comparison.differences for danger in each.dangers if danger.grave]
    if found:
        yield "**Look at these first**\n"
    yield from (f"- :warning: `{each.key}` {_plain(danger.text)}" for each, danger in found)
    yield ""


def _table(shown: list[Difference], *, full: bool) -> Iterator[str]:
    if not shown:
        return
    yield "| | object | layer | change |\n| --- | --- | --- | --- |"
    for each, text in rows(shown, full=full):
        yield f"| `{SIGNS[each.operation][0]}` | `{each.key}` | {each.layer} | {_plain(text)} |"
    yield ""


def _details(difference: Difference, *, full: bool) -> str:
    found = groups(difference, full=full)
    if not found:
        return ""
    blocks = "".join(
        "\n" + "  \n".join(map(_plain, titles)) + "\n\n````diff\n" + "\n".join(texts).replace("````", "") + "\n````\n"
        for titles, texts in found
    )
    count = sum(len(titles) for titles, _ in found)
    title = f"{_plain(str(difference.key))}: {count} field{'s' * (count > 1)}"
    return f"\n<details><summary>{title}</summary>\n{blocks}\n</details>\n"


def _plain(text: str) -> str:
    """Without what Markdown or HTML would take as its own, on one line."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " "), ("`", "'")):
        text = text.replace(character, written)
    for character in "*_[]":
        text = text.replace(character, f"\\{character}")
    return text
