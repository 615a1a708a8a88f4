"""The command line for the local accounts: look into them, or change them as somebody else would: drift."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rehearsal.accounts.behaviour import GENERIC, Refused, Resource
from rehearsal.accounts.cloudflare import RESOURCES as CLOUDFLARE
from rehearsal.accounts.sdk_schema import Sdk, UnknownResourceError
from rehearsal.accounts.store import AFTER_CREATE, FAULTS, Account, Accounts, Record
from rehearsal.accounts.tailscale import RESOURCES as TAILSCALE

_OPERATIONS = ("create", "read", "update", "delete")
_SECRET_WORDS = ("secret", "token", "key", "password", "psk")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    path = options.accounts or os.environ.get("ANTON_ACCOUNTS")
    if not path:
        parser.error("say which accounts: --accounts FILE or the environment variable ANTON_ACCOUNTS")
    try:
        with Accounts(Path(path)).transaction() as account:
            for line in options.run(account, options):
                sys.stdout.write(f"{line}\n")
    except (Refused, UnknownResourceError) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal.stand_in",
        description="Look into and change the accounts of the stand-in for Cloudflare and Tailscale. They are local "
        "and stand for nothing outside of this machine (docs/stand-in.md).",
        epilog="TYPE is a type token such as cloudflare:index/dnsRecord:DnsRecord or its last part. A VALUE is JSON, "
        "or else text.",
    )
    parser.add_argument("--accounts", metavar="FILE", help="the accounts (default: $ANTON_ACCOUNTS)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("list", help="show what is in the accounts, secrets masked")
    command.set_defaults(run=_list)
    command = commands.add_parser("add", help="make something by hand; prints its id")
    command.add_argument("type", metavar="TYPE")
    command.add_argument("values", nargs="*", metavar="NAME=VALUE")
    command.set_defaults(run=_add)
    command = commands.add_parser("set", help="change something by hand; an empty value removes a property")
    command.add_argument("type", metavar="TYPE")
    command.add_argument("id", metavar="ID")
    command.add_argument("values", nargs="+", metavar="NAME=VALUE")
    command.set_defaults(run=_set)
    command = commands.add_parser("delete", help="delete something by hand")
    command.add_argument("type", metavar="TYPE")
    command.add_argument("id", metavar="ID")
    command.set_defaults(run=_delete)
    command = commands.add_parser("fail", help="let the next operations on a type fail")
    command.add_argument("type", metavar="TYPE")
    command.add_argument("operation", choices=_OPERATIONS)
    command.add_argument("fault", choices=sorted(FAULTS))
    command.add_argument("--times", type=int, default=1)
    command.set_defaults(run=_fail)
    return parser


def _list(account: Account, options: argparse.Namespace) -> Iterator[str]:
    for record in account.all():
        values = masked(record.inputs)
        yield f"{record.type} {record.id}  {json.dumps(values, ensure_ascii=False)}"


def masked(value: Any, name: str = "") -> Any:
    """The value with everything hidden that is secret by its name."""
    match value:
        case dict():
            return {key: masked(item, key) for key, item in value.items()}
        case list():
            return [masked(item, name) for item in value]
        case str() if any(word in name.lower() for word in _SECRET_WORDS):
            return "(secret)"
    return value


def _add(account: Account, options: argparse.Namespace) -> Iterator[str]:
    token, inputs = _token(account, options.type), _values(options.values)
    schema = _sdk(token).schema(token)
    for path, reason in [*schema.faults(inputs)] or [*_behaviour(token).faults(inputs)]:
        raise Refused(f"{path} {reason}")
    _behaviour(token).refuse(account, inputs, None)
    record = _behaviour(token).record(token, inputs, None, schema)
    account.put(record)
    yield record.id


def _set(account: Account, options: argparse.Namespace) -> Iterator[str]:
    record = _known(account, options)
    changed = record.inputs | _values(options.values)
    account.put(replace(record, inputs={name: value for name, value in changed.items() if value != ""}))
    yield from ()


def _delete(account: Account, options: argparse.Namespace) -> Iterator[str]:
    account.remove(_known(account, options))
    yield from ()


def _fail(account: Account, options: argparse.Namespace) -> Iterator[str]:
    if options.fault in AFTER_CREATE and options.operation != "create":
        raise Refused(f"{options.fault} is a fault of create alone")
    account.ask_for_fault(_token(account, options.type), options.operation, options.fault, options.times)
    yield from ()


def _known(account: Account, options: argparse.Namespace) -> Record:
    token = _token(account, options.type)
    record = account.find(token, options.id)
    if record is None:
        raise Refused(f"there is no {token} {options.id}; `list` shows what there is")
    return record


def _token(account: Account, name: str) -> str:
    """The type token that ends in `name`."""
    known = {*CLOUDFLARE, *TAILSCALE, *(record.type for record in account.all())}
    found = [token for token in known if name in {token, token.rsplit(":", 1)[-1]}]
    if len(found) == 1:
        return found[0]
    if name.count(":") == 2:
        return name
    raise Refused(f"{name} is not the last part of a known type: write it in full, provider:index/name:Name")


def _behaviour(token: str) -> Resource:
    return CLOUDFLARE.get(token) or TAILSCALE.get(token) or GENERIC


def _sdk(token: str) -> Sdk:
    import importlib.util  # noqa: PLC0415

    name = token.partition(":")[0]
    spec = importlib.util.find_spec(f"pulumi_{name}")
    if spec is None or spec.origin is None:
        raise Refused(f"pulumi_{name} is not installed")
    return Sdk(name, Path(spec.origin).parent.parent)


def _values(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise Refused(f"{pair} is not of the form NAME=VALUE")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values
