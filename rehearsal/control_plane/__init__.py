"""The rehearsal's Kubernetes: an API server with fake nodes, on loopback."""
