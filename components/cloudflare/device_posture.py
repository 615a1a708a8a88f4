"""Device posture: the checks of devices that an Access policy can ask for, as Cloudflare takes them."""

from typing import TYPE_CHECKING

import pulumi

from components.sdk import cloudflare
from settings.cloudflare.device_posture import PLATFORMS, CheckType, DeviceCheck

if TYPE_CHECKING:
    import pulumi_cloudflare

POLLED = "5m"
"""How often the client looks at what may change; Cloudflare's own choice, written out because it is read back."""


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
    # The platform stands in `matches`. As `operating_system` of the input it would not be read back, and every preview
    # after a refresh would show it.
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
        return made(enabled=True)
    if check.type is CheckType.OS_VERSION:
        return made(operator=">=", version=check.min_version)
    return None
