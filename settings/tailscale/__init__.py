"""Settings of the tailnet and of the operator in the cluster."""
