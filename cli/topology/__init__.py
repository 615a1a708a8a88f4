"""`anton topology`: the network as a picture or a table."""
