"""Settings of the edge at Cloudflare: tunnel, DNS, zone, rules and Access."""
