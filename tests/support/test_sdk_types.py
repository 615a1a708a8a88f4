"""The check of arguments against the SDK's types finds each kind of fault, and accepts what is right."""

from typing import Any

import pytest

from tests.support.recorder import Registration
from tests.support.sdk_types import assert_arguments_fit, secret_paths, without_secrets

pytestmark = pytest.mark.unit

CONFIG = "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
KEY = "tailscale:index/tailnetKey:TailnetKey"
INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "hidden"}


def rule(**values: Any) -> dict[str, Any]:
    return {
        "accountId": "a",
        "tunnelId": "t",
        "config": {"ingresses": [{"service": "https://controller:443", **values}]},
    }


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (RECORD, {"name": "a.example.com", "ttl": 1.0, "type": "A", "zoneId": "z", "content": "192.0.2.1"}),
        (CONFIG, rule(originRequest={"http2Origin": True, "connectTimeout": 30.0})),
        (KEY, {"reusable": True, "tags": ["tag:k8s"], "expiry": 3600.0}),
        (RECORD, {"name": "a", "ttl": 1, "type": "TXT", "zoneId": "z", "content": SECRET}),
        (INGRESS, {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"ingressClassName": "external"}}),
        ("kubernetes:cilium.io/v2:CiliumNetworkPolicy", {"anything": "is not judged here"}),
    ],
)
def test_right_arguments_fit(kind: str, inputs: dict[str, Any]) -> None:
    assert_arguments_fit(Registration(kind, "it", inputs))


@pytest.mark.parametrize(
    ("kind", "inputs", "fault"),
    [
        (RECORD, {"name": "a", "type": "A", "zoneId": "z"}, "ttl: DnsRecordArgs requires it"),
        (RECORD, {"name": "a", "ttl": "1", "type": "A", "zoneId": "z"}, "ttl: '1' is no float"),
        (RECORD, {"name": "a", "ttl": 1, "type": "A", "zoneId": "z", "proxy": True}, "proxy: .* knows no such"),
        (CONFIG, rule(originRequest={"originServerName": 1.0}), r"ingresses\[0\].originRequest.originServerName: 1.0"),
        (CONFIG, rule(originRequest={"serverName": "x"}), r"ingresses\[0\].originRequest.serverName: .* knows no such"),
        (CONFIG, rule(originRequest={"http2Origin": "true"}), "http2Origin: 'true' is no bool"),
        (CONFIG, rule(originRequest={"connectTimeout": 1.5}), "connectTimeout: 1.5 is no int"),
        (CONFIG, rule(service=None), r"ingresses\[0\].service: .* requires it"),
        (CONFIG, {"accountId": "a", "tunnelId": "t", "config": []}, r"config: \[\] is no"),
        (KEY, {"tags": "tag:k8s"}, "tags: 'tag:k8s' is no"),
        (INGRESS, {"spec": {"tls": [{"secret": "web-tls"}]}}, r"spec.tls\[0\].secret: .* knows no such"),
    ],
)
def test_each_kind_of_fault_is_named_with_its_place(kind: str, inputs: dict[str, Any], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        assert_arguments_fit(Registration(kind, "it", inputs))


def test_secrets_are_found_and_masked_wherever_they_stand() -> None:
    inputs = {"data": {"token": SECRET}, "list": [{"plain": "x"}, SECRET]}
    assert secret_paths(inputs) == {"data.token", "list[1]"}
    assert without_secrets(inputs) == {"data": {"token": "(secret)"}, "list": [{"plain": "x"}, "(secret)"]}
