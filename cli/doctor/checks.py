"""All checks by name, in the order of the layers that they look at."""

from cli.doctor import (
    check_addresses,
    check_certificates,
    check_cilium,
    check_cloudflare,
    check_ingress,
    check_names,
    check_nodes,
    check_pods,
    check_policies,
    check_requests,
    check_tailscale,
)
from cli.doctor.registry import REGISTERED, Check

_LAYERS = (
    check_nodes,
    check_cilium,
    check_addresses,
    check_names,
    check_ingress,
    check_requests,
    check_certificates,
    check_cloudflare,
    check_tailscale,
    check_policies,
    check_pods,
)

CHECKS: dict[str, Check] = {
    check.name: check for layer in _LAYERS for check in REGISTERED if check.run.__module__ == layer.__name__
}
