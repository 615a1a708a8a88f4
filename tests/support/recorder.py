"""Runs Pulumi code against mocks and records every resource it registers, with its parent and dependencies."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks

# A program that fails leaves tasks behind whose exceptions nobody fetches; asyncio would print their tracebacks when
# they are collected. That happens at any time, also while Python parses code, where 3.11 can't bear it (it parses again
# to format a traceback, and fails with a SystemError). The exception itself comes out of `run`.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


@dataclass
class Registration:
    """One registered resource: its type, name, inputs, and options as the program gave them."""

    type: str
    name: str
    inputs: dict[str, Any]
    opts: pulumi.ResourceOptions = field(default_factory=pulumi.ResourceOptions)


class Recorder(Mocks):
    """Answers every registration with its own inputs; any call but for the tunnel's token is a fault."""

    def __init__(self, node_addresses: dict[str, str]) -> None:
        self.registrations: list[Registration] = []
        self.options: dict[tuple[str, str], pulumi.ResourceOptions] = {}
        self.node_addresses = node_addresses

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.registrations.append(Registration(args.typ, args.name, dict(args.inputs)))
        outputs = dict(args.inputs)
        if args.typ == "kubernetes:core/v1:NodePatch":
            address = self.node_addresses.get(outputs["metadata"]["name"])
            entries = [{"type": "Hostname", "address": "any"}]
            entries += [{"type": "InternalIP", "address": address}] if address else []
            outputs["status"] = {"addresses": entries}
        return f"{args.name}-id", outputs

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        if args.token.endswith(":getZeroTrustTunnelCloudflaredToken"):
            return {**args.args, "token": "token-of-the-mocked-tunnel"}, []
        raise AssertionError(f"unplanned provider call: {args.token}")

    def remember(self, args: pulumi.ResourceTransformationArgs) -> None:
        """A stack transformation: mocks see neither parent nor dependencies."""
        self.options[args.type_, args.name] = args.opts


def run(build: Callable[[], object], recorder: Recorder) -> None:
    """Run `build` to its end, outputs included; its exceptions come through."""
    pulumi.runtime.set_mocks(recorder, project="anton-network", stack="test", preview=False)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    async def body() -> None:
        def remember(args: pulumi.ResourceTransformationArgs) -> None:
            recorder.remember(args)

        pulumi.runtime.register_stack_transformation(remember)
        # Mocks know no `pulumi.run`: it refuses to be called.
        programs: list[Callable[[], Awaitable[None]]] = []
        with patch.object(pulumi, "run", programs.append):
            build()
        for program in programs:
            await program()

    body()


def record(build: Callable[[], object], node_addresses: dict[str, str] | None = None) -> list[Registration]:
    """Every resource that `build` registers, in order.

    `node_addresses` is what the mocked Node objects report as InternalIP, by node name.
    """
    recorder = Recorder(node_addresses or {})
    run(build, recorder)
    for registration in recorder.registrations:
        registration.opts = recorder.options.get((registration.type, registration.name), pulumi.ResourceOptions())
    return recorder.registrations
