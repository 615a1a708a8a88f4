"""Local accounts at Cloudflare and Tailscale, and the stand-in plugin that fills them."""
