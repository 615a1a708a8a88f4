"""`anton reach`: who can talk to whom, on which way, and what stops them."""
