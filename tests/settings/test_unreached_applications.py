"""An application whose class nobody reaches is published to nobody: said in every preview."""

from typing import Any

import pulumi
import pytest

from settings.cautions import cautions
from settings.load import load
from tests.support.configs import charts_without_files, merged, set_config, settings_with, stack_config

pytestmark = pytest.mark.unit

OFF = {"cloudflare": {"enabled": False}}
WEB = {"ingressClass": "external", "namespace": "production", "port": 80}


def said(*changes: dict[str, Any], stack: str = "prod") -> dict[str, str]:
    config = merged(stack_config(stack), {"kubernetes": {"kubeconfig": None}})
    for change in changes:
        config = merged(config, change)
    return {each.key: each.text for each in cautions(settings_with({}, config))}


def web(**values: Any) -> dict[str, Any]:
    return {"applications": {"web": {**WEB, **values}}}


def third_class(**values: Any) -> dict[str, Any]:
    return {"ingress": {"classes": {"third": {"certificateIssuer": "internal-ca", **values}}}}


@pytest.mark.parametrize("stack", ["prod", "rehearsal"])
def test_shipped_stacks_need_no_warning(stack: str) -> None:
    assert said(stack=stack) == {}


def test_class_of_the_tunnel_is_reached_by_nobody_without_the_tunnel() -> None:
    found = said(OFF, web(), {"applications": {"shop": WEB}})
    assert found.keys() == {"ingress.classes.external.serviceType"}, "one message a class"
    text = found["ingress.classes.external.serviceType"]
    assert "web, shop" in text
    assert "cloudflare.enabled is false" in text
    assert "loadBalancer.addresses.external" in text


def test_class_beside_the_tunnels_is_reached_by_nobody_without_an_address() -> None:
    found = said(web(ingressClass="third"), third_class())
    assert found.keys() == {"ingress.classes.third.serviceType"}
    assert "the tunnel leads to class external" in found["ingress.classes.third.serviceType"]


@pytest.mark.parametrize(
    "changes",
    [
        (web(),),
        (OFF,),
        (OFF, web(ingressClass="internal")),
        (OFF, web(ingressClass="tailscale")),
        (OFF, web(), {"ingress": {"classes": {"external": {"serviceType": "LoadBalancer"}}}}),
        (OFF, web(), {"tailscale": {"connector": {"serviceNetwork": True}}}),
        (OFF, web(), {"tailscale": {"connector": {"routes": ["10.96.0.0/12"]}}}),
        (
            web(ingressClass="third"),
            third_class(),
            {
                "cloudflare": {
                    "tunnel": {
                        "rules": [
                            {
                                "host": "third.example.com",
                                "service": "https://third-ingress-nginx-controller.network.svc.cluster.local:443",
                                "originServerName": "third.example.com",
                            }
                        ]
                    }
                }
            },
        ),
    ],
)
def test_applications_that_somebody_reaches_need_no_warning(changes: tuple[dict[str, Any], ...]) -> None:
    assert said(*changes) == {}


def test_warning_is_said_when_a_stack_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(pulumi, "warn", heard.append)
    monkeypatch.setattr("settings.load.find_charts", charts_without_files)
    set_config(merged(merged(stack_config(), OFF), web()))
    load()
    assert [text.partition(":")[0] for text in heard] == ["ingress.classes.external.serviceType"]
