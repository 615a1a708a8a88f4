"""`anton import` and the faults of the clouds' plugins: what is not imported, and what has to be updated alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.adopt.ids import cloud_id
from cli.edge_accounts import LocalCloudflare
from cli.program import Resource
from rehearsal.accounts.store import Accounts, Record
from tests.rehearsal.test_stand_in_engine import DNS, TUNNEL, ZONE, Rehearsal, fresh, pulumi, rehearsal

__all__ = ["fresh", "pulumi", "rehearsal"]

SETTING = "cloudflare:index/zoneSetting:ZoneSetting"
EDGE = """
edge()
record("app", "app.example.com", content="new.example.com", comment="kept by Pulumi")
"""
AFTER_THE_TUNNEL = """
record("new", "new.example.com", opts=pulumi.ResourceOptions(depends_on=tunnel()))
"""
PROVIDER = "urn:pulumi:test::stand-in::pulumi:providers:cloudflare::cloudflare"
TUNNEL_URN = f"urn:pulumi:test::stand-in::{TUNNEL}::tunnel"


@pytest.mark.unit
@pytest.mark.parametrize(("setting", "id_"), [("security_header", None), ("ssl", "z/ssl")])
def test_setting_that_ends_the_plugin_is_not_imported(tmp_path: Path, setting: str, id_: str | None) -> None:
    inputs = {"zoneId": "z", "settingId": setting}
    resource = Resource(f"urn:pulumi:test::anton-network::{SETTING}::it", SETTING, inputs)
    accounts: Any = SimpleNamespace(cloudflare=LocalCloudflare(Accounts(tmp_path / "accounts"), "a", "z"))
    assert cloud_id(resource, accounts, {}) == id_


def adopted(rehearsal: Rehearsal) -> None:
    """A stack with the tunnel and a record that somebody made, imported; a second record is not there yet."""
    tunnel = {"accountId": "a" * 32, "name": "anton", "configSrc": "cloudflare", "tunnelSecret": "theirs"}
    record = {"zoneId": ZONE, "name": "app.example.com", "type": "CNAME", "ttl": 1, "proxied": True, "content": "old"}
    with rehearsal.accounts.transaction() as account:
        account.put(Record(TUNNEL, "a" * 32, "0b1c", tunnel))
        account.put(Record(DNS, ZONE, "c" * 32, record))
    rehearsal.up("")
    wanted = [
        {"type": TUNNEL, "name": "tunnel", "id": f"{'a' * 32}/0b1c", "provider": "cloudflare"},
        {"type": DNS, "name": "app", "id": f"{ZONE}/{'c' * 32}", "provider": "cloudflare"},
    ]
    file = rehearsal.folder / "import.json"
    file.write_text(json.dumps({"nameTable": {"cloudflare": PROVIDER}, "resources": wanted}))
    rehearsal.run("import", "--file", str(file), "--yes", "--protect=false", "--generate-code=false")
    rehearsal.program(EDGE)


@pytest.mark.engine
def test_adopted_tunnel_is_updated_alone_and_then_the_rest_goes_right(rehearsal: Rehearsal) -> None:
    adopted(rehearsal)
    assert rehearsal.plan()["tunnel"] == "update", "the secret, which the import could not read"
    rehearsal.run("up", "--yes", "--skip-preview", "--target", TUNNEL_URN)
    assert rehearsal.plan() == {"anchor": "create", "app": "update"}
    rehearsal.up(EDGE)
    with rehearsal.accounts.transaction() as account:
        records = {record.inputs["name"]: record.inputs["content"] for record in account.all(DNS)}
    assert records == {"app.example.com": "new.example.com", "external.example.com": "0b1c.cfargotunnel.com"}


@pytest.mark.engine
def test_rehearsal_shows_what_the_plugin_does_to_all_else_when_the_tunnel_is_not_updated_alone(
    rehearsal: Rehearsal,
) -> None:
    adopted(rehearsal)
    said = rehearsal.up(AFTER_THE_TUNNEL, fails=True)
    assert "the request lacks content, name, type" in said
    rehearsal.up(AFTER_THE_TUNNEL)
