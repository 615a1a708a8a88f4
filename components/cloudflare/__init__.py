"""The edge at Cloudflare: tunnel and connectors, DNS, zone, rules and Access."""
