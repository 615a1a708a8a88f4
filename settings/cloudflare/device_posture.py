"""Device posture: what a device must be like for an Access policy that asks for it.

Every check needs the WARP client on the device, connected to the account; devices without it pass none.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import pulumi
from pydantic import Field, StringConstraints

from components.fields import Form, Model, Problem
from components.sdk import cloudflare

if TYPE_CHECKING:
    import pulumi_cloudflare

POLLED = "5m"
"""How often the client looks at what may change; Cloudflare's own choice, written out because it is read back."""


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
                yield Problem(key, shown, f"means nothing for type {self.type.value}", "without this key")
        possible = PLATFORMS.get(self.type, ())
        if self.platform and possible and self.platform not in possible:
            reason = f"has no check of type {self.type.value}"
            yield Problem("platform", self.platform.value, reason, possible[0].value)


def device_check(
    resource: str, account_id: str, key: str, check: DeviceCheck, parent: pulumi.Resource
) -> pulumi.Output[str]:
    """Register a device posture rule, with the list of serial numbers that it needs; its id."""
    platform = check.platform.value if check.platform else None
    return cloudflare.ZeroTrustDevicePostureRule(
        resource,
        account_id=account_id,
        name=key,
        type=check.type.value,
        input=_input(resource, account_id, key, check, parent),
        matches=[cloudflare.ZeroTrustDevicePostureRuleMatchArgs(platform=platform)] if platform else None,
        schedule=POLLED if check.type in PLATFORMS else None,
        opts=pulumi.ResourceOptions(parent=parent),
    ).id


def _input(
    resource: str, account_id: str, key: str, check: DeviceCheck, parent: pulumi.Resource
) -> "pulumi_cloudflare.ZeroTrustDevicePostureRuleInputArgs | None":
    made = cloudflare.ZeroTrustDevicePostureRuleInputArgs
    platform = check.platform.value if check.platform else None
    if check.type is CheckType.SERIAL_NUMBER:
        numbers = cloudflare.ZeroTrustList(
            f"{resource}-serial-numbers",
            account_id=account_id,
            name=f"{key}: serial numbers",
            type="SERIAL",
            items=[cloudflare.ZeroTrustListItemArgs(value=number) for number in sorted(set(check.serial_numbers))],
            opts=pulumi.ResourceOptions(parent=parent),
        )
        return made(id=numbers.id)
    if check.type is CheckType.DISK_ENCRYPTION:
        return made(require_all=True)
    if check.type is CheckType.FIREWALL:
        return made(enabled=True, operating_system=platform)
    if check.type is CheckType.OS_VERSION:
        return made(operating_system=platform, operator=">=", version=check.min_version)
    return None
