"""Device posture: what a device must be like for an Access policy that asks for it.

Every check needs the WARP client on the device, connected to the account; devices without it pass none.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from settings.fields import WITHOUT, Form, Model, Problem


class CheckType(StrEnum):
    """What is checked."""

    WARP = "warp"
    GATEWAY = "gateway"
    SERIAL_NUMBER = "serial_number"
    DISK_ENCRYPTION = "disk_encryption"
    FIREWALL = "firewall"
    OS_VERSION = "os_version"


class Platform(StrEnum):
    """Operating systems whose disks, firewall and version can be checked."""

    WINDOWS = "windows"
    MAC = "mac"
    LINUX = "linux"


PLATFORMS = {
    CheckType.DISK_ENCRYPTION: tuple(Platform),
    CheckType.FIREWALL: (Platform.WINDOWS, Platform.MAC),
    CheckType.OS_VERSION: tuple(Platform),
}
"""Checks that are made for one operating system, and for which it can be."""


class DeviceCheck(Model):
    """One device posture rule."""

    type: CheckType = Field(
        description="`warp` (the client runs), `gateway` (its traffic goes through your Gateway), `serial_number`, "
        "`disk_encryption`, `firewall` or `os_version`",
        examples=["serial_number"],
    )
    serial_numbers: tuple[
        Annotated[
            str,
            StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9./]*$"),
            Form("must be one serial number: letters, digits, hyphens, dots and slashes"),
        ],
        ...,
    ] = Field(default=(), description="with serial_number: the devices that you manage", examples=[["C02XK0AAJG5J"]])
    platform: Platform | None = Field(
        default=None,
        description="with disk_encryption, firewall and os_version: `windows`, `mac` or `linux` (no firewall)",
        examples=["mac"],
    )
    min_version: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$"),
            Form("must be three numbers with dots between them"),
        ]
        | None
    ) = Field(default=None, description="with os_version: the oldest that passes", examples=["14.6.1"])

    def problems(self) -> Iterator[Problem]:
        wanted = {
            "serialNumbers": (self.type is CheckType.SERIAL_NUMBER, self.serial_numbers, ["C02XK0AAJG5J"]),
            "platform": (self.type in PLATFORMS, self.platform, "mac"),
            "minVersion": (self.type is CheckType.OS_VERSION, self.min_version, "14.6.1"),
        }
        for key, (needed, value, example) in wanted.items():
            shown = list(value) if isinstance(value, tuple) else value
            if needed and not value:
                yield Problem(key, shown, f"is required for type {self.type.value}", example)
            elif value and not needed:
                yield Problem(key, shown, f"means nothing for type {self.type.value}", WITHOUT)
        possible = PLATFORMS.get(self.type, ())
        if self.platform and possible and self.platform not in possible:
            reason = f"has no check of type {self.type.value}"
            yield Problem("platform", self.platform.value, reason, possible[0].value)
