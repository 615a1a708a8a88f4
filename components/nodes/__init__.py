"""The physical nodes: what is written on them, and what the router, DHCP and Talos must know."""
