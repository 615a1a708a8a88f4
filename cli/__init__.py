"""`./anton`: see before you change, and check after. Reads the stack, the cluster and the accounts; changes nothing."""
