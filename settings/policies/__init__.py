"""Settings of network policies, and which traffic they let through."""
