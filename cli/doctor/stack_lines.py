"""Where a setting stands in the stack's file, for those who have to change it."""

from pathlib import Path

import yaml

from cli.program import Program
from settings.stack import NAMESPACE


class StackLines:
    """The lines of one stack file by key."""

    def __init__(self, path: Path) -> None:
        """Read the file; one that can't be read has no lines."""
        self._name = path.name
        try:
            root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
        except (OSError, yaml.YAMLError):
            root = None
        self._config = _child(root, "config")

    @classmethod
    def of(cls, program: Program) -> "StackLines":
        """The lines of a program's stack file: the one that people edit, where Pulumi runs on a copy of it."""
        edited = program.project / f"Pulumi.{program.stack}.yaml"
        return cls(edited if edited.is_file() else program.config_file or edited)

    def find(self, key: str) -> str:
        """`file:line key` of a setting such as `physical.nodes.k8s-1.address`.

        For one that is left at its default it is the line of the nearest object that holds it, and says so.
        """
        group, *rest = key.split(".")
        top, known = f"{NAMESPACE}:{group}", group
        node, line = _child(self._config, top), _line(self._config, top)
        if line is None:
            return f"{self._name} {key} (not set)"
        while rest:
            # Names may hold dots themselves: the longest that is there.
            for length in range(len(rest), 0, -1):
                name = ".".join(rest[:length])
                if (found := _line(node, name)) is not None:
                    line, node, known, rest = found, _child(node, name), f"{known}.{name}", rest[length:]
                    break
            else:
                return f"{self._name}:{line} {known} ({'.'.join(rest)} at its default)"
        return f"{self._name}:{line} {key}"


def _pair(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pair = _pair(node, name)
    return pair[1] if pair else None


def _line(node: yaml.Node | None, name: str) -> int | None:
    pair = _pair(node, name)
    return int(pair[0].start_mark.line) + 1 if pair else None
