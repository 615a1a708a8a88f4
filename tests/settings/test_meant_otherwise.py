"""Values of the right type that were meant otherwise, and values that may be secrets."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic.alias_generators import to_camel

from settings.errors import ConfigError
from settings.fields import Model
from settings.parsing import parse_group, plain_annotation
from settings.stack import GROUPS
from tests.support.configs import merged, settings_with, stack_config
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit

APPLICATION = {"namespace": "production", "port": 80, "ingressClass": "internal"}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"applications": {"a": {**APPLICATION, "port": True}}}, "applications.a.port"),
        ({"cilium": {"operator": {"replicas": True}}}, "cilium.operator.replicas"),
        (
            {"loadBalancer": {"bgp": {"localAsn": True, "peers": {"r": {"address": "192.168.1.1", "asn": 64512}}}}},
            "loadBalancer.bgp.localAsn",
        ),
        ({"cilium": {"bpfMaps": {"dynamicSizeRatio": True}}}, "cilium.bpfMaps.dynamicSizeRatio"),
        ({"discovery": {"lanDns": {"ttlSeconds": False}}}, "discovery.lanDns.ttlSeconds"),
    ],
)
def test_true_is_no_number(change: dict[str, Any], key: str) -> None:
    """As 1 it would be a port, a replica or a network of its own."""
    faults = faults_of(change, stack_config())
    assert list(faults) == [key]
    assert faults[key] in {"must be a whole number", "must be a number"}


def numbers(model: type[Model], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of a model's numbers, in the objects and mappings that it holds as well."""
    for name, info in model.model_fields.items():
        annotation, key = plain_annotation(info.annotation), (*path, to_camel(name))
        if get_origin(annotation) is dict:
            annotation, key = plain_annotation(get_args(annotation)[1]), (*key, "some-name")
        if annotation in {int, float}:
            yield key
        elif isinstance(annotation, type) and issubclass(annotation, Model):
            yield from numbers(annotation, key)


NUMBERS = [(group, path) for group, model in GROUPS.items() for path in numbers(model)]


@pytest.mark.parametrize(("group", "path"), NUMBERS, ids=[f"{group}.{'.'.join(path)}" for group, path in NUMBERS])
def test_true_is_no_number_anywhere(group: str, path: tuple[str, ...]) -> None:
    """Whatever layer asks for one."""
    model = GROUPS[group]
    steps = path[1:] if model.mapping_field else path
    raw: Any = True
    for step in reversed(steps):
        raw = {step: raw}
    reasons = {problem.key: problem.reason for problem in parse_group(model, raw).problems}
    assert reasons[".".join(steps)] in {"must be a whole number", "must be a number"}


def controller(**values: Any) -> dict[str, Any]:
    return {"ingress": {"classes": {"internal": values}}}


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (
            controller(resources={"requests": {"cpu": 100}, "limits": {"cpu": "200"}}),
            "ingress.classes.internal.resources.limits.cpu",
            "200 cores for one container",
        ),
        (
            controller(resources={"requests": {"cpu": 100}}),
            "ingress.classes.internal.resources.requests.cpu",
            "100 cores for one container",
        ),
        (
            controller(resources={"limits": {"memory": 500}}),
            "ingress.classes.internal.resources.limits.memory",
            "500 bytes",
        ),
        (
            {"cilium": {"operator": {"resources": {"requests": {"memory": "128k"}}}}},
            "cilium.operator.resources.requests.memory",
            "128000 bytes",
        ),
        (controller(tuning={"clientMaxBodySize": 60}), "ingress.classes.internal.tuning.clientMaxBodySize", "60 bytes"),
        (
            {"applications": {"a": {**APPLICATION, "limits": {"bodySize": 50}}}},
            "applications.a.limits.bodySize",
            "50 bytes",
        ),
    ],
)
def test_an_amount_without_its_unit_is_refused(change: dict[str, Any], key: str, reason: str) -> None:
    assert reason in faults_of(change, stack_config())[key]


def test_amounts_that_mean_what_they_say_are_accepted() -> None:
    """Whole cores, zero for no limit, and bytes in full."""
    resources = {"requests": {"cpu": 2, "memory": 268435456}, "limits": {"cpu": "8", "memory": "1Gi"}}
    tuning = {"clientMaxBodySize": 0, "proxyBufferSize": 4096}
    found = settings_with(controller(resources=resources, tuning=tuning)).ingress.classes["internal"]
    assert (found.resources.requests.cpu, found.tuning.client_max_body_size) == ("2", "0")


@pytest.mark.parametrize(
    ("key", "value"),
    [("md5", "hunter2"), ("md5", 20010305), ("auth", "hunter2"), ("tcpMd5Sig", ["hunter2"]), ("x", {"y": "hunter2"})],
)
def test_what_an_unknown_key_holds_is_not_shown(key: str, value: Any) -> None:
    """It may be a secret, whatever the key is called."""
    peer = {"address": "192.168.1.1", "asn": 64512, key: value}
    with pytest.raises(ConfigError) as caught:
        settings_with(merged(stack_config(), {"loadBalancer": {"bgp": {"localAsn": 64513, "peers": {"router": peer}}}}))
    assert [problem.key for problem in caught.value.problems] == [f"loadBalancer.bgp.peers.router.{key}"]
    assert "hunter2" not in str(caught.value)
    assert "20010305" not in str(caught.value)


def test_what_a_misspelt_key_holds_is_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with({"physical": {"gatewy": "192.168.1.254"}})
    assert "192.168.1.254" in str(caught.value)
