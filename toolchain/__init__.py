"""Sets up the tools that the make targets need, from package registries alone (see docs/toolchain.md)."""


class SetupError(Exception):
    """Set-up can't go on; the message is complete and meant for the user."""
