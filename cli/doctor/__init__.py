"""`anton doctor`: the specification's connectivity tests as checks that run side by side and change nothing."""
