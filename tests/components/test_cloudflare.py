"""The edge as a whole: what it composes, what it gives out, and what the layers behind it must be for it to work."""

from typing import Any

import pulumi
import pytest

from components.cloudflare.edge import CloudflareEdge
from components.sdk import cloudflare
from tests.support.configs import STAND_IN_SECRETS, settings_with
from tests.support.edge import (
    ACCOUNT_ID,
    TOKEN,
    TUNNEL_ID,
    WEB,
    ZONE_ID,
    built,
    edge_arguments,
    edge_settings,
    reasons,
    recorded,
)
from tests.support.sdk_types import assert_arguments_fit

pytestmark = pytest.mark.unit


def external(**values: Any) -> dict[str, Any]:
    return {"ingress": {"classes": {"external": values}}}


def outputs_of(change: dict[str, Any] | None = None) -> dict[str, Any]:
    """The public outputs of the edge, plain."""
    settings = edge_settings(change)
    found: dict[str, Any] = {}

    def build() -> object:
        edge = CloudflareEdge("cloudflare", edge_arguments(settings))
        names = ("tunnel_id", "tunnel_hostname", "hostname", "dns_names", "public_hosts", "ds_record")
        return pulumi.Output.all(**{name: getattr(edge, name) for name in names}).apply(found.update)

    recorded(build)
    return found


def test_edge_is_off_unless_asked_for() -> None:
    assert settings_with().cloudflare.enabled is False


@pytest.mark.parametrize("key", ["accountId", "zoneId"])
def test_each_identifier_is_required_once_the_edge_is_on(key: str) -> None:
    assert reasons({"cloudflare": {key: None}}) == {f"cloudflare.{key}": "is required by cloudflare.enabled"}
    found = reasons({"cloudflare": {key: "anton"}})
    assert found == {f"cloudflare.{key}": "is not 32 hexadecimal digits in lower case"}


def test_outputs_say_where_the_tunnel_is_and_hold_no_secret() -> None:
    outputs = outputs_of({"applications": {"web": WEB}})
    assert outputs == {
        "tunnel_id": TUNNEL_ID,
        "tunnel_hostname": f"{TUNNEL_ID}.cfargotunnel.com",
        "hostname": "external.example.com",
        "dns_names": ["external.example.com", "example.com"],
        "public_hosts": ["web.example.com"],
        "ds_record": None,
    }
    assert not [secret for secret in (TOKEN, *STAND_IN_SECRETS.values()) if secret in str(outputs)]


def test_no_component_of_the_edge_registers_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[dict[str, Any]] = []
    monkeypatch.setattr(
        pulumi.ComponentResource, "register_outputs", lambda component, outputs: registered.append(outputs)
    )
    secret: list[str] = []

    def build() -> object:
        CloudflareEdge("cloudflare", edge_arguments(edge_settings()))
        return [note(key, value) for outputs in registered for key, value in outputs.items()]

    def note(key: str, value: pulumi.Input[Any]) -> pulumi.Output[Any]:
        output = pulumi.Output.from_input(value)

        async def look(plain: Any) -> Any:
            if await output.is_secret() or TOKEN in str(plain):
                secret.append(key)
            return plain

        return output.apply(look)

    recorded(build)
    assert len(registered) >= 4, "every component says what it gives out"
    assert not secret


def test_names_of_the_settings_records_are_among_the_outputs() -> None:
    records = {"vps": {"name": "vps.example.com", "type": "A", "content": "203.0.113.10"}}
    assert outputs_of({"cloudflare": {"dns": {"records": records}}})["dns_names"][-1] == "vps.example.com"


def test_every_resource_lies_below_the_edge_and_takes_its_account() -> None:
    def build() -> object:
        providers: list[pulumi.ProviderResource] = [cloudflare.Provider("account", api_token=pulumi.Output.secret("t"))]
        arguments = edge_arguments(edge_settings())
        return CloudflareEdge("cloudflare", arguments, pulumi.ResourceOptions(providers=providers))

    found, _ = recorded(build)
    orphans = [name for name, each in found.items() if each.opts.parent is None]
    assert orphans == ["account", "cloudflare"]
    for each in found.values():
        assert_arguments_fit(each)
        assert each.inputs.get("accountId", ACCOUNT_ID) == ACCOUNT_ID
        assert each.inputs.get("zoneId", ZONE_ID) == ZONE_ID


def test_same_settings_register_the_same_resources() -> None:
    first, second = ({name: each.inputs for name, each in built().items()} for _ in range(2))
    assert first == second, "a second preview would not be empty"


def test_what_must_be_ready_is_named_for_the_layers_that_come_after() -> None:
    def build() -> object:
        edge = CloudflareEdge("cloudflare", edge_arguments(edge_settings()))
        found = {type(each).__name__ for each in edge.ready}
        assert found == {"CloudflareTunnel", "TunnelConnector", "PublicDns", "ZoneSecurity", "AccessPolicies"}
        return edge

    recorded(build)


# The class behind the tunnel


def test_class_behind_the_tunnel_takes_the_clients_address_from_cloudflare() -> None:
    found = reasons(external(clientAddress="connection"))
    assert "every client would have the connector's address" in found["ingress.classes.external.clientAddress"]


def test_tunnel_without_a_class_behind_it_is_refused() -> None:
    found = reasons({"cloudflare": {"tunnel": {"ingressClass": "internal"}}})
    assert "behind the tunnel" in found["ingress.classes.internal.clientAddress"]
    assert "cloudflare.tunnel.ingressClass" in reasons({"ingress": {"classes": {"external": None}}})


def test_controller_without_a_certificate_is_refused() -> None:
    found = reasons(external(defaultCertificate=None))
    assert "self-signed certificate, which cloudflared refuses" in found["ingress.classes.external.certificateIssuer"]


def staging(environment: str) -> dict[str, Any]:
    certificates = {"enabled": True, "letsencrypt": {"environment": environment}}
    return external(certificateIssuer="letsencrypt") | {"certificates": certificates}


def test_staging_certificate_behind_the_tunnel_is_refused() -> None:
    """cloudflared verifies its origin, and nobody trusts Let's Encrypt's staging authority."""
    found = reasons(staging("staging"))
    assert "nobody trusts" in found["certificates.letsencrypt.environment"]
    edge_settings(staging("production"))
    edge_settings(staging("staging") | {"cloudflare": {"tunnel": {"originCaSecret": "staging-root"}}})


def test_certificate_of_the_internal_authority_must_lie_where_the_connectors_can_read_it() -> None:
    change = external(certificateIssuer="internal-ca", defaultCertificate="certs/external-tls")
    found = reasons(change | {"certificates": {"enabled": True}})
    assert "is not in network" in found["ingress.classes.external.defaultCertificate"]


def test_edge_that_is_off_asks_nothing_of_the_other_layers() -> None:
    change = external(clientAddress="connection", defaultCertificate=None)
    assert settings_with(change | {"cloudflare": {"enabled": False}}).cloudflare.enabled is False


@pytest.mark.parametrize("address", ["ops", "ops@localhost", "a@example.com,b@example.com"])
def test_malformed_mail_address_is_refused(address: str) -> None:
    found = reasons({"cloudflare": {"notifications": {"emails": [address]}}})
    assert "one mail address" in found["cloudflare.notifications.emails[0]"]
