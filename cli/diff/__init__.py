"""`anton diff`: what an update would change in the objects of the cluster."""
