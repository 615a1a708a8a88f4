"""The VPN: operator, ingress class and subnet routes; policy, DNS and keys of the tailnet."""
