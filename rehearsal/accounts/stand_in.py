"""The stand-in plugin for Cloudflare and Tailscale, and a command line for its accounts: `--help` shows it.

`serve NAME` is what the plugin's executable runs. It must start quickly, as every preview starts both: only what the
protocol needs is imported then.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_ENGINE = os.getppid()  # read early: who started this may be gone before it serves

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # run as a file, not as a module


def main(arguments: Sequence[str]) -> int:
    """Serve a provider, or run a command on the accounts."""
    if arguments[:1] == ["serve"]:
        serve(arguments[1])
        return 0
    from rehearsal.accounts.commands import run  # noqa: PLC0415 - not needed to serve

    return run(arguments)


def serve(name: str) -> None:
    """Serve the provider `name` on a free port of loopback, printed on stdout, until the engine ends it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # how the engine ends a plugin: at once, accounts are files
    _import_lightly()
    from concurrent import futures  # noqa: PLC0415

    import grpc  # type: ignore[import-untyped]  # noqa: PLC0415
    from pulumi.runtime.proto import provider_pb2_grpc  # noqa: PLC0415

    from rehearsal.accounts.sdk_schema import Sdk  # noqa: PLC0415
    from rehearsal.accounts.service import Provider, accounts_from  # noqa: PLC0415

    sdk = Sdk(name, _folder_of(f"pulumi_{name}").parent)
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=limits)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(sdk, accounts_from()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_engine, daemon=True).start()
    server.wait_for_termination()


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed for {sys.executable}")
    return Path(spec.origin).parent


def _import_lightly() -> None:
    """Make `pulumi.runtime.proto` importable without running the packages around it, which takes half a second."""
    folder = _folder_of("pulumi")
    for package in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        module = ModuleType(package)
        module.__path__ = [str(folder.joinpath(*package.split(".")[1:]))]
        sys.modules[package] = module
    sys.modules["grpc.aio"] = ModuleType("grpc.aio")  # gRPC's other half, which nothing here uses


def _end_with_engine() -> None:
    """End this process when the engine that started it has gone without a word."""
    while os.getppid() == _ENGINE:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
