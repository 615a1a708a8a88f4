"""Names: DNS for the LAN, CoreDNS, Services for other names."""
