"""Every example in docs/configuration.md is one that the program takes, written as it is printed there."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from docs import generate
from settings.fields import Model
from settings.parsing import example_of, plain_annotation
from settings.stack import GROUPS

pytestmark = pytest.mark.unit

EXAMPLES = {
    key: example.strip("`")
    for group, model in GROUPS.items()
    for key, _, _, example in generate.rows(model, group)
    if example not in {"an object", "none"}
}

INSIDE: Mapping[str, Mapping[str, Any]] = {
    "cloudflare.access": {
        "groups": {"admins": {"emails": ["ops@example.com"]}},
        "devicePosture": {"managed": {"type": "warp"}},
        "policies": {"staff": {"emailDomains": ["example.com"]}},
    },
    "loadBalancer": {"addresses": {"broker": "192.168.1.107"}},
}
"""What else an object holds, so that what names it finds it."""

POLICY, POSTURE = "cloudflare.access.policies.<name>", "cloudflare.access.devicePosture.<name>"
SERVICE = "discovery.services.<name>"

BESIDE: Mapping[str, Mapping[str, Any]] = {
    "physical.nodes.<name>.bond": {"interface": "bond0"},
    "loadBalancer.pools.<name>.start": {},
    f"{POLICY}.reason": {"decision": "bypass", "everyone": True},
    f"{POSTURE}.serialNumbers": {},
    f"{POSTURE}.type": {"serialNumbers": ["C02XK0AAJG5J"]},
    f"{POSTURE}.platform": {"type": "os_version", "minVersion": "14.6.1"},
    f"{POSTURE}.minVersion": {"type": "os_version", "platform": "mac"},
    "cloudflare.dns.records.<name>.priority": {"type": "MX", "content": "mail.example.com", "name": "example.com"},
    "cloudflare.zone.rules.cache.bypass.<name>.pathPrefix": {"hosts": ["a.example.com"]},
    "cloudflare.zone.rules.countries.inside": {},
    "networkPolicies.namespaces.<name>.podSecurity": {"create": True},
    f"{SERVICE}.type": {"namespace": "production", "selector": {"app": "database"}},
    f"{SERVICE}.selector": {"namespace": "production", "type": "headless"},
    f"{SERVICE}.ports": {"namespace": "production", "type": "headless", "selector": {"app": "database"}},
}
"""What must stand beside a key for it to mean something, in place of the example of the object that it is in."""


def test_examples_are_found() -> None:
    assert len(EXAMPLES) > 300


@pytest.mark.parametrize("key", EXAMPLES)
def test_documented_example_is_accepted(key: str) -> None:
    group, *steps = key.split(".")
    model, value = GROUPS[group], yaml.safe_load(EXAMPLES[key])
    if model.mapping_field:
        entries = model.model_fields[model.mapping_field]
        raw = {model.mapping_field: placed(entries, group, steps, value)}
    else:
        raw = filled(model, group, steps, value, {})
    assert list(model.model_validate(raw).problems()) == []


def placed(field: FieldInfo, key: str, steps: list[str], value: Any) -> Any:
    """What `field`, at `key`, holds when `value` stands at `steps` below it and the rest is its own example."""
    if not steps:
        return value
    known = (field.examples or [{}])[0]
    annotation = plain_annotation(field.annotation)
    if get_origin(annotation) is not dict:
        return filled(annotation, key, steps, value, known)
    name, entry = next(iter(known.items()), ("my-app", {}))
    return {name: filled(plain_annotation(get_args(annotation)[1]), f"{key}.<name>", steps[1:], value, entry)}


def filled(model: type[Model], key: str, steps: list[str], value: Any, known: Mapping[str, Any]) -> Any:
    """An object of `model` with `value` at `steps`, what it requires, and what is known or said to be beside it."""
    if not steps:
        return value
    step, *rest = steps
    field = next(info for name, info in model.model_fields.items() if to_camel(name) == step)
    required = {to_camel(name): example_of(info) for name, info in model.model_fields.items() if info.is_required()}
    around = BESIDE.get(f"{key}.{step}", {**known, **INSIDE.get(key, {})})
    return {**required, **around, step: placed(field, f"{key}.{step}", rest, value)}
