"""Rules that need more than one layer's settings to judge.

Each is a generator over the settings; a rule sees only settings that are valid on their own. Keys are full paths below
the project's namespace.
"""

from settings.rules import (
    applications,
    certificates,
    cloudflare,
    discovery,
    monitoring,
    namespaces,
    network,
    nodes,
    origins,
    policies,
    tailscale,
    zone,
)

STAGES = (
    network.BASE,
    (
        *network.RULES,
        *nodes.RULES,
        *namespaces.RULES,
        *certificates.RULES,
        *tailscale.RULES,
        *cloudflare.RULES,
        *zone.RULES,
        *applications.RULES,
        *policies.RULES,
        *origins.RULES,
        *discovery.RULES,
        *monitoring.RULES,
    ),
)
"""The rules in the order in which they are asked: what follows from a fault that an earlier stage found is dropped."""
