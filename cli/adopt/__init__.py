"""`anton import`: takes over what exists in the cluster and at the clouds."""
