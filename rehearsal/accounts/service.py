"""The provider protocol of Pulumi's engine, answered from the accounts."""

from __future__ import annotations

import functools
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.accounts import cloudflare, tailscale
from rehearsal.accounts.behaviour import CHANGED, GENERIC, Refused, Resource
from rehearsal.accounts.differences import differences
from rehearsal.accounts.encoder import Encoder
from rehearsal.accounts.sdk_schema import PROJECT, Schema, Sdk, UnknownResourceError
from rehearsal.accounts.store import AFTER_CREATE, FAULTS, NO_ANSWER_SECONDS, Account, Accounts, Record, scope_of
from rehearsal.accounts.wire import UNKNOWN, Secret, Unknown, decode, encode, marked, plain

WRITABLE_STACKS = frozenset({"rehearsal", "test"})
ACCOUNTS_VARIABLE = "ANTON_ACCOUNTS"

RESOURCES = {**cloudflare.RESOURCES, **tailscale.RESOURCES}
FUNCTIONS = {**cloudflare.FUNCTIONS, **tailscale.FUNCTIONS}

# Which of the provider's credentials must equal which key of rehearsal/secrets.yaml, and which must not be set.
_CREDENTIALS = {
    "cloudflare": {"apiToken": "cloudflareApiToken"},
    "tailscale": {"oauthClientId": "tailscaleApiClientId", "oauthClientSecret": "tailscaleApiClientSecret"},
}
_FOREIGN = {
    "cloudflare": ("apiKey", "apiUserServiceKey", "email", "baseUrl"),
    "tailscale": ("apiKey", "identityToken", "identityTokenEnvironmentVariableName", "audience", "baseUrl"),
}


def stand_in_secrets() -> dict[str, str]:
    """The credentials of rehearsal/secrets.yaml by key."""
    text = (PROJECT / "rehearsal/secrets.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+): (\S+)$", text, re.MULTILINE))


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let the engine see a refusal as the call's error. A defect names its place and no value: values can be secret."""

    @functools.wraps(method)
    def call(self: Provider, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except (Refused, UnknownResourceError) as refusal:
            context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"the stand-in failed: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            context.abort(grpc.StatusCode.INTERNAL, text)

    return call


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One of the two providers. `accounts` is None where it serves previews alone."""

    def __init__(self, sdk: Sdk, accounts: Accounts | None) -> None:
        self._sdk = sdk
        self._accounts = accounts
        self._encoder = Encoder()
        self._title = f"the stand-in for the {sdk.name} plugin"

    # What the plugin is

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=f"{self._sdk.version}+stand-in")

    def GetSchema(self, request: Any, context: Any) -> Any:
        text = f"A stand-in for the {self._sdk.name} plugin, with local accounts; it has no schema of its own."
        schema = {"name": self._sdk.name, "version": self._sdk.version, "description": text}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    # The provider's own configuration

    @_answered
    def CheckConfig(self, request: Any, context: Any) -> Any:
        failures = [
            # Without `property`: the engine would print the value of the one that is named.
            provider_pb2.CheckFailure(reason=f"{name} {reason}")
            for name, reason in self._foreign_credentials(decode(request.news))
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @_answered
    def DiffConfig(self, request: Any, context: Any) -> Any:
        changed = plain(decode(request.olds)) != plain(decode(request.news))
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind)

    @_answered
    def Configure(self, request: Any, context: Any) -> Any:
        for name, reason in self._foreign_credentials(decode(request.args)):
            raise Refused(f"{name} {reason}")
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def _foreign_credentials(self, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        known = stand_in_secrets()
        remedy = (
            f"{self._title} takes only the credentials of rehearsal/secrets.yaml, which open nothing. For a real "
            "account install the official plugin: docs/stand-in.md"
        )
        for name, key in _CREDENTIALS[self._sdk.name].items():
            value = plain(config.get(name))
            if not isinstance(value, Unknown) and value != known[key]:
                yield name, f"is {'missing' if value is None else 'not a credential of the local accounts'}: {remedy}"
        for name in _FOREIGN[self._sdk.name]:
            if config.get(name) not in {None, ""}:
                yield name, f"is of no use here: {remedy}"

    # Resources

    @_answered
    def Check(self, request: Any, context: Any) -> Any:
        token = _token(request.urn)
        inputs = decode(request.news)
        found = list(self._sdk.schema(token).faults(inputs)) or list(_behaviour(token).faults(plain(inputs)))
        failures = [provider_pb2.CheckFailure(property=path, reason=reason) for path, reason in found]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @_answered
    def Diff(self, request: Any, context: Any) -> Any:
        old = plain(decode(request.old_inputs if request.old_inputs.fields else request.olds))
        found = differences(_behaviour(_token(request.urn)), old, plain(decode(request.news)))
        kinds = provider_pb2.PropertyDiff
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=sorted({change.name for change in found}),
            replaces=sorted({change.name for change in found if change.replaces}),
            detailedDiff={
                change.path: kinds(
                    kind=kinds.Kind.Value(f"{change.kind}{'_REPLACE' if change.replaces else ''}"), inputDiff=True
                )
                for change in found
            },
            hasDetailedDiff=True,
        )

    @_answered
    def Create(self, request: Any, context: Any) -> Any:
        token, inputs = _token(request.urn), decode(request.properties)
        schema = self._sdk.schema(token)
        if request.preview:
            unknown = dict.fromkeys(schema.computed, UNKNOWN)
            return provider_pb2.CreateResponse(properties=_struct(_with_secrets(inputs | unknown, schema)))
        accounts = self._writable(request.urn)
        fault = _fail_if_asked(accounts, token, "create")
        behaviour = _behaviour(token)
        with accounts.transaction() as account:
            values = plain(inputs)
            self._encoder.write(behaviour, None, values)
            behaviour.refuse(account, values, None)
            record = behaviour.record(token, values, None, schema)
            account.put(record)
        if fault:
            if fault == "no-answer-after-create":
                time.sleep(NO_ANSWER_SECONDS)
            raise Refused(f"{token}: {FAULTS[fault]}")
        return provider_pb2.CreateResponse(id=record.id, properties=_struct(_state(record, inputs, schema)))

    @_answered
    def Update(self, request: Any, context: Any) -> Any:
        token, old, inputs = _token(request.urn), decode(request.olds), decode(request.news)
        schema = self._sdk.schema(token)
        if request.preview:
            kept = {name: old[name] for name in schema.computed if name in old}
            unknown = {name: UNKNOWN for name in (*CHANGED, "version") if name in kept}
            return provider_pb2.UpdateResponse(properties=_struct(inputs | kept | unknown))
        accounts = self._writable(request.urn)
        _fail_if_asked(accounts, token, "update")
        behaviour = _behaviour(token)
        with accounts.transaction() as account:
            own = account.find(token, request.id, scope_of(plain(old)))
            if own is None:
                raise Refused(f"404 Not Found: {token} {request.id} is gone; `pulumi refresh` notes that")
            self._encoder.write(behaviour, plain(old), plain(inputs))
            values = {name: own.inputs[name] for name in behaviour.write_only if name in own.inputs} | plain(inputs)
            behaviour.refuse(account, values, own)
            record = behaviour.record(token, behaviour.updated(own.inputs, values), own, schema)
            account.put(record)
        said = replace(record, inputs=values)  # the plugin takes what it has sent for what there is
        return provider_pb2.UpdateResponse(properties=_struct(_state(said, inputs, schema)))

    @_answered
    def Delete(self, request: Any, context: Any) -> Any:
        token, old = _token(request.urn), plain(decode(request.properties))
        accounts = self._writable(request.urn)
        _fail_if_asked(accounts, token, "delete")
        behaviour = _behaviour(token)
        with accounts.transaction() as account:
            record = account.find(token, request.id, scope_of(old))
            if record:  # one that is gone already is what was wanted
                behaviour.refuse_removal(account, record)
                account.remove(record)
                if left := behaviour.left(record):
                    account.put(left)
        return empty_pb2.Empty()

    @_answered
    def Read(self, request: Any, context: Any) -> Any:
        token = _token(request.urn)
        behaviour, schema = _behaviour(token), self._sdk.schema(token)
        accounts = self._readable()
        _fail_if_asked(accounts, token, "read")
        old, old_inputs = decode(request.properties), decode(request.inputs)
        scope: str | None = scope_of(plain(old))
        id_ = request.id
        if not request.properties.fields:
            scope, id_ = behaviour.import_key(id_, schema)
            behaviour.refuse_import(id_)
        with accounts.transaction() as account:
            record = _found(account, behaviour, token, scope, id_)
        if record is None:
            return provider_pb2.ReadResponse()
        returned = behaviour.returned(record.inputs)
        kept = {name: old_inputs[name] for name in behaviour.write_only if name in old_inputs}
        inputs = marked(returned, old_inputs or old) | kept
        state = _state(replace(record, inputs=plain(inputs)), old | inputs, schema)
        return provider_pb2.ReadResponse(id=record.id, properties=_struct(state), inputs=_struct(inputs))

    @_answered
    def Invoke(self, request: Any, context: Any) -> Any:
        function = FUNCTIONS.get(request.tok)
        if function is None:
            raise Refused(f"{self._title} does not serve the function {request.tok}")
        with self._readable().transaction() as account:
            result = function(account, plain(decode(request.args)))
        return provider_pb2.InvokeResponse(**{"return": _struct(result)})

    def _readable(self) -> Accounts:
        if self._accounts is None:
            raise Refused(
                f"{self._title} keeps no account here and serves previews alone; {ACCOUNTS_VARIABLE} can name a file "
                "for local accounts: docs/stand-in.md"
            )
        return self._accounts

    def _writable(self, urn: str) -> Accounts:
        stack = urn.split(":")[2]
        if stack not in WRITABLE_STACKS:
            allowed = " and ".join(sorted(WRITABLE_STACKS))
            raise Refused(
                f"{self._title} changes accounts only for the local stacks {allowed}, never for {stack}. For a real "
                "account install the official plugin: docs/stand-in.md"
            )
        return self._readable()


def _behaviour(token: str) -> Resource:
    return RESOURCES.get(token, GENERIC)


def _token(urn: str) -> str:
    """`cloudflare:index/dnsRecord:DnsRecord` of a URN, whose type part may begin with the types of parents."""
    return urn.split("::")[2].rsplit("$", 1)[-1]


def _fail_if_asked(accounts: Accounts, token: str, operation: str) -> str | None:
    """Raise the fault that is due; return one that must come after the operation."""
    with accounts.transaction() as account:
        fault = account.take_fault(token, operation)
    if fault and fault not in AFTER_CREATE:
        raise Refused(f"{token}: {FAULTS[fault]}")
    return fault


def _found(account: Account, behaviour: Resource, token: str, scope: str | None, id_: str) -> Record | None:
    record = account.find(token, id_, scope)
    untouched = behaviour.untouched(id_)
    return record or (Record(token, "", id_, untouched) if untouched else None)


def _with_secrets(properties: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """The properties with those marked that the SDK knows as secret."""
    return {
        name: Secret(value) if name in schema.secrets and not isinstance(value, Secret) and value is not None else value
        for name, value in properties.items()
    }


def _state(record: Record, like: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The outputs of a record, secret where `like` is or the SDK says so."""
    return _with_secrets(marked(record.inputs | record.computed, dict(like)), schema)


def _struct(properties: Mapping[str, Any]) -> Any:
    struct = struct_pb2.Struct()
    encode(properties, struct)
    return struct


def accounts_from(environment: Mapping[str, str] = os.environ) -> Accounts | None:
    """The accounts that the environment names, if any."""
    path = environment.get(ACCOUNTS_VARIABLE)
    return Accounts(Path(path)) if path else None
