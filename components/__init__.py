"""The layers of the Anton network, one module a layer; `settings` alone reads the stack's configuration."""

from components import sdk

sdk.prepare()
