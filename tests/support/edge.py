"""Builds the Cloudflare edge for tests: settings with every identifier, and mocks that answer for the account."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pulumi
import pytest
from pulumi.runtime import MockCallArgs, MockResourceArgs

from components.cloudflare.edge import CloudflareEdge, CloudflareEdgeArgs
from settings.errors import ConfigError
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, merged, settings_with
from tests.support.recorder import Recorder, Registration, run

ACCOUNT_ID, ZONE_ID = "a" * 32, "b" * 32

TUNNEL_ID = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"

OWNER = "anton-network-test"

TOKEN = "connector-token-of-the-mocked-account"  # noqa: S105 - what the mocks answer with

TOKEN_FUNCTION = "cloudflare:index/getZeroTrustTunnelCloudflaredToken:getZeroTrustTunnelCloudflaredToken"  # noqa: S105

EDGE: dict[str, Any] = {
    "cloudflare": {"enabled": True, "accountId": ACCOUNT_ID, "zoneId": ZONE_ID, "dns": {"externalDns": {}}}
}
"""The least that turns the edge on, and external-dns."""

WEB = {"ingressClass": "external", "namespace": "production", "port": 80}
"""A published application."""


class EdgeRecorder(Recorder):
    """Answers as an account with one tunnel would, and names Secrets as the Kubernetes provider does."""

    def __init__(self) -> None:
        super().__init__({})
        self.calls: list[MockCallArgs] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        name, outputs = super().new_resource(args)
        if args.typ.endswith(":ZeroTrustTunnelCloudflared"):
            return TUNNEL_ID, outputs
        if args.typ == "kubernetes:core/v1:Secret":
            outputs["metadata"] = {"name": f"{args.name}-1a2b3c", **outputs["metadata"]}
        return name, outputs

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        if args.token != TOKEN_FUNCTION:
            return super().call(args)
        self.calls.append(args)
        return {**args.args, "token": TOKEN}, []


def zone(plan: str = "free", **values: Any) -> dict[str, Any]:
    """A change of the zone, on a plan."""
    return {"cloudflare": {"plan": plan, "zone": values}}


def edge_settings(change: Mapping[str, Any] | None = None) -> Settings:
    """Valid settings with the edge on."""
    return settings_with(merged(EDGE, change or {}))


def edge_arguments(settings: Settings) -> CloudflareEdgeArgs:
    """What the program hands to the edge."""
    secrets = {key: pulumi.Output.secret(value) for key, value in STAND_IN_SECRETS.items()}
    service = "external-ingress-nginx-controller.network.svc"
    return CloudflareEdgeArgs.of(
        replace(settings, secrets=secrets), namespace=settings.ingress.namespace, origin_service=service, owner=OWNER
    )


def recorded(build: Callable[[], object]) -> tuple[dict[str, Registration], EdgeRecorder]:
    """Every resource that `build` registers, by name, and the recorder with the calls."""
    recorder = EdgeRecorder()
    run(build, recorder)
    for registration in recorder.registrations:
        registration.opts = recorder.options[registration.type, registration.name]
    return {entry.name: entry for entry in recorder.registrations}, recorder


def built(change: Mapping[str, Any] | None = None) -> dict[str, Registration]:
    """The resources of the edge, by name."""
    settings = edge_settings(change)
    found, _ = recorded(lambda: CloudflareEdge("cloudflare", edge_arguments(settings)))
    return found


def reasons(change: Mapping[str, Any]) -> dict[str, str]:
    """Key to reason of each problem that a change to the edge's settings causes."""
    with pytest.raises(ConfigError) as caught:
        edge_settings(change)
    return {problem.key: problem.reason for problem in caught.value.problems}
