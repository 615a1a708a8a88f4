"""A comparison for people: lines for a terminal, summary first."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from rich.text import Text

from cli.diff.fields import ABSENT, Field, text_of
from cli.diff.objects import Comparison, Difference

SIGNS = {
    "added": ("+", "green"),
    "removed": ("-", "red"),
    "changed": ("~", "yellow"),
    "replaced": ("±", "red"),
    "kept": ("=", "yellow"),
    "not updated": ("!", "yellow"),
}
_WIDEST_VALUE = 100
_LONGEST_TEXT = 12


def lines(comparison: Comparison, *, full: bool = False) -> Iterator[Text]:
    """The whole answer: counts, dangers, one line an object, then the fields."""
    shown = [each for each in comparison.differences if full or not each.folded]
    yield Text(headline(comparison), style="bold")
    yield from (Text(source, style="dim") for source in comparison.sources)
    if not comparison.deployed and not full:
        yield from _layers(comparison)
        return
    yield from _dangers(comparison.differences)
    yield from _objects(shown, full=full)
    yield from (Text(text, style="dim") for text in folds(comparison))
    if any(fields_of(each, full=full) for each in shown):
        yield Text()
    for each in shown:
        yield from _fields(each, full=full)


def headline(comparison: Comparison) -> str:
    """How much changes, in one line."""
    if not comparison.differences:
        return f"{comparison.stack}: nothing changes"
    counted = Counter(each.operation for each in comparison.differences)
    parts = ", ".join(f"{counted[operation]} {operation}" for operation in SIGNS if counted[operation])
    count = len(comparison.differences)
    return f"{comparison.stack}: {count} object{'s' * (count > 1)}: {parts}"


def folds(comparison: Comparison) -> Iterator[str]:
    """What is folded away, by name."""
    hooks = [each for each in comparison.differences if each.hook]
    quiet = [each for each in comparison.differences if each.folded and not each.hook]
    noises = Counter(reason for each in comparison.differences if not each.hook for reason in each.noises.values())
    if quiet:
        yield f"folded: {len(quiet)} object{'s' * (len(quiet) > 1)} with nothing but noise"
    if noises:
        yield f"noise: {', '.join(f'{name} ({count})' for name, count in noises.most_common())}"
    if hooks:
        yield f"folded: {len(hooks)} hook{'s' * (len(hooks) > 1)} that Helm runs and removes"


def _layers(comparison: Comparison) -> Iterator[Text]:
    yield Text("nothing is deployed yet: everything is new (--full lists it)")
    for layer in dict.fromkeys(each.layer for each in comparison.differences):
        own = [each for each in comparison.differences if each.layer == layer and not each.hook]
        kinds = Counter(each.key.kind for each in own)
        text = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        count = f"{len(own)} object{'s' * (len(own) > 1)}"
        yield Text.assemble("\n", (layer, "bold"), f"  {count}\n  {text}")


def _dangers(differences: Iterable[Difference]) -> Iterator[Text]:
    found = [(each, danger) for each in differences for danger in each.dangers if danger.grave and not each.hook]
    if found:
        yield Text()
    for each, danger in found:
        yield Text.assemble(("! ", "bold red"), (f"{each.key}  ", "bold"), (danger.text, "red"))


def _objects(differences: Iterable[Difference], *, full: bool) -> Iterator[Text]:
    layer = ""
    for each, text in rows(differences, full=full):
        if each.layer != layer:
            layer = each.layer
            yield Text(f"\n{layer}", style="bold cyan")
        sign, colour = SIGNS[each.operation]
        yield Text.assemble((f"{sign} ", colour), f"{each.key}  ", (text, "dim"))


def rows(differences: Iterable[Difference], *, full: bool) -> Iterator[tuple[Difference, str]]:
    """A line for each object, by layer; a release that comes or goes as a whole is one line, unless `full`."""
    shown = sorted(differences, key=lambda each: each.layer)
    whole = {
        (each.origin, each.operation): Counter(
            other.key.kind for other in shown if (other.origin, other.operation) == (each.origin, each.operation)
        )
        for each in shown
        if each.key.kind == "Release" and each.operation in {"added", "removed"} and not full
    }
    for each in shown:
        kinds = whole.get((each.origin, each.operation))
        if kinds is None:
            remarks = "".join(f" ({danger.text})" for danger in each.dangers if not danger.grave)
            yield each, summary(each) + remarks
        elif each.key.kind == "Release":
            parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common() if kind != "Release")
            yield each, f"{each.operation} with {kinds.total() - 1} objects: {parts}"


def summary(difference: Difference) -> str:
    """The change of one object in a line."""
    telling = difference.telling
    if difference.operation in {"added", "removed"}:
        return difference.operation
    if difference.operation == "kept":
        return "no longer in the chart, stays in the cluster"
    pairs = {(text_of(each.before), text_of(each.after)) for each in telling}
    if len(pairs) == 1 and _fit_a_line(telling[0]):
        before, after = brief(telling[0].before, telling[0].after)
        name = telling[0].path if len(telling) == 1 else f"{telling[0].at[-1]!s} ({len(telling)} times)"
        return f"{name.removeprefix('spec.template.spec.')}: {before} → {after}"
    paths = ", ".join(each.path.removeprefix("spec.template.spec.") for each in telling[:3])
    more = f" and {len(telling) - 3} more" if len(telling) > 3 else ""
    return f"{paths}{more}" if telling else "nothing but noise"


def _fit_a_line(field: Field) -> bool:
    values = [value for value in (field.before, field.after) if value is not ABSENT]
    return all(not isinstance(value, (Mapping, list)) and "\n" not in str(value) for value in values)


def brief(before: object, after: object) -> tuple[str, str]:
    """Two values as short as they can be told apart: images without digests and what they have in common."""
    old, new = (value_text(value) for value in (before, after))
    short = old.partition("@sha256:")[0], new.partition("@sha256:")[0]
    if short[0] != short[1]:
        old, new = short
    name, _, tag = new.rpartition(":")
    return (old, tag) if name and "/" in name and old.startswith(f"{name}:") else (old, new)


def value_text(value: object) -> str:
    """A value in one line; what is not there is `none`."""
    return "none" if value is ABSENT else text_of(value)


# ---- fields


def fields_of(difference: Difference, *, full: bool) -> tuple[Field, ...]:
    """The fields to show below: whole objects that come or go, and noise, only when all is asked for."""
    if full:
        return difference.fields
    return () if difference.operation in {"added", "removed", "kept"} else difference.telling


def _fields(difference: Difference, *, full: bool) -> Iterator[Text]:
    shown = fields_of(difference, full=full)
    if not shown:
        return
    yield Text(str(difference.key), style="bold")
    for titles, texts in groups(difference, full=full):
        yield from (Text(f"  {title}", style="cyan") for title in titles)
        for text in texts:
            yield Text(f"    {text}", style={"-": "red", "+": "green"}.get(text[:1], "dim"))


def groups(difference: Difference, *, full: bool) -> list[tuple[list[str], list[str]]]:
    """Fields with the same change together: their paths, and the lines of the change."""
    found: dict[tuple[str, ...], list[str]] = {}
    for field in fields_of(difference, full=full):
        remark = f"  ({difference.noises[field.path]})" if field.path in difference.noises else ""
        found.setdefault(tuple(field_lines(field, full=full)), []).append((field.path or "all of it") + remark)
    return [(titles, list(texts)) for texts, titles in found.items()]


def field_lines(field: Field, *, full: bool = False) -> list[str]:
    """Before and after as lines with `-` and `+`; of long texts and lists only what differs, unless all is wanted."""
    before, after = field.before, field.after
    if isinstance(before, list) and isinstance(after, list):
        found = _compared([*map(text_of, before)], [*map(text_of, after)], full=full)
    elif isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
        found = _compared(before.splitlines(), after.splitlines(), full=full)
    else:
        old, new = (before, after) if full else _digestless(before, after)
        found = [f"- {text}" for text in _texts(old)] + [f"+ {text}" for text in _texts(new)]
    if full:
        return found
    cut = _cut(found)
    more = len(cut) - _LONGEST_TEXT
    return cut if more <= 1 else [*cut[:_LONGEST_TEXT], f"  and {more} lines more (--full)"]


def _cut(found: list[str]) -> list[str]:
    """Lines no wider than can be read; two long ones from where they begin to differ."""
    start = 2
    if len(found) == 2 and max(map(len, found)) > _WIDEST_VALUE:
        pairs = zip(found[0][2:], found[1][2:], strict=False)
        start = 2 + next((place for place, (old, new) in enumerate(pairs) if old != new), 0)
    skip = max(0, start - 42)
    texts = [f"{text[:2]}...{text[2 + skip :]}" if skip else text for text in found]
    return [text if len(text) <= _WIDEST_VALUE else f"{text[: _WIDEST_VALUE - 3]}..." for text in texts]


def _digestless(before: object, after: object) -> tuple[object, object]:
    if isinstance(before, str) and isinstance(after, str):
        old, new = before.partition("@sha256:")[0], after.partition("@sha256:")[0]
        return (old, new) if old != new else (before, after)
    return before, after


def _texts(value: object) -> list[str]:
    return [] if value is ABSENT else text_of(value).splitlines() or [""]


def _compared(before: list[str], after: list[str], *, full: bool) -> list[str]:
    marked = difflib.ndiff(before, after)
    return [text for text in marked if text[:1] in "-+" or (full and text[:1] == " ")]
