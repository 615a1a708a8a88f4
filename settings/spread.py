"""Numbers of pods that are spread one a node, on clusters of fewer nodes than the default has in mind."""

from typing import Any, TypeVar

from settings.fields import Model, OneANode

M = TypeVar("M", bound=Model)


def fitted(model: M, nodes: int) -> M:
    """The model with every default of pods one a node brought down to `nodes`; what the config says stays."""
    changes: dict[str, Any] = {}
    for name, value in model.__dict__.items():
        marker = next((part for part in type(model).model_fields[name].metadata if isinstance(part, OneANode)), None)
        if marker is None:
            changes[name] = _inside(value, nodes)
        elif name not in model.model_fields_set:
            changes[name] = min(value, max(nodes, marker.least))
    copy = model.model_copy()
    copy.__dict__.update(changes)
    return copy


def _inside(value: Any, nodes: int) -> Any:
    if isinstance(value, Model):
        return fitted(value, nodes)
    if isinstance(value, dict):
        return {key: _inside(inner, nodes) for key, inner in value.items()}
    return tuple(_inside(item, nodes) for item in value) if isinstance(value, tuple) else value
