"""The pod and service network: Cilium, its LoadBalancer pools and how they are announced."""
