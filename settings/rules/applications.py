"""Rules between published applications and the layers that publish them."""

from collections.abc import Iterator

from settings.applications import MOST_CONNECTIONS, MOST_REQUESTS, TAILSCALE_CLASS, Published, covered_by_wildcard
from settings.fields import WITHOUT, Problem, known, readable
from settings.parsing import nearest_key
from settings.stack import Settings


def classes(settings: Settings) -> Iterator[Problem]:
    """Every application's class exists."""
    known = [*settings.ingress.classes, *([TAILSCALE_CLASS] if settings.tailscale.enabled else [])]
    for application in settings.published:
        chosen = application.ingress_class
        if chosen not in known:
            off = chosen == TAILSCALE_CLASS
            needed = "needs the Tailscale operator, and tailscale.enabled is false"
            reason = needed if off else "is no class of ingress.classes"
            example = nearest_key(chosen, known) or next(iter(known), "internal")
            key, because = f"applications.{application.name}.ingressClass", ("ingress.classes", "tailscale.enabled")
            yield Problem(key, chosen, reason, example, because)


def hosts(settings: Settings) -> Iterator[Problem]:
    """Every host can have a certificate and a name, and two applications never share one on a class."""
    yield from readable(_shared_hosts(settings), *(_host(settings, each) for each in settings.published))


def _shared_hosts(settings: Settings) -> Iterator[Problem]:
    owners: dict[tuple[str, str, str], str] = {}
    # NGINX and Tailscale take /api and /api/ for one path.
    places = known(settings.published, lambda each: (each.ingress_class, each.host, each.path.rstrip("/")))
    for application, place in places:
        name = application.name
        first = owners.setdefault(place, name)
        if first != name:
            reason = f"with path {application.path} is already where applications.{first} is published"
            example = f"{name}.{application.host.partition('.')[2]}"
            both = (f"applications.{name}", f"applications.{first}")
            yield Problem(f"applications.{name}.host", application.host, reason, example, because=both)


def _host(settings: Settings, application: Published) -> Iterator[Problem]:
    key, entry = f"applications.{application.name}.host", settings.applications.entries[application.name]
    if application.ingress_class == TAILSCALE_CLASS:
        if entry.host:
            reason = "can't be chosen on class tailscale: the tailnet names the device after the entry"
            yield Problem(key, entry.host, reason, WITHOUT, because=(f"applications.{application.name}.ingressClass",))
        return
    domain, example = settings.cluster.domain, f"{application.name}.{settings.cluster.domain}"
    if application.host != domain and not application.host.endswith(f".{domain}"):
        reason = f"lies outside cluster.domain {domain}, for which alone there are certificates and records"
        yield Problem(key, application.host, reason, example, because=("cluster.domain",))
        return
    behind_tunnel = (
        settings.cloudflare.enabled and application.ingress_class == settings.cloudflare.tunnel.ingress_class
    )
    controller = settings.ingress.classes.get(application.ingress_class)
    signed = behind_tunnel or controller is None or controller.certificate_issuer is not None
    if not signed and not covered_by_wildcard(application.host, domain):
        reason = (
            f"is deeper than a wildcard certificate reaches, and ingress.classes.{application.ingress_class}."
            "certificateIssuer, which would sign one for it, is unset"
        )
        because = ("ingress.classes", "cloudflare.enabled", "cloudflare.tunnel.ingressClass")
        yield Problem(key, application.host, reason, example, because)


def limits(settings: Settings) -> Iterator[Problem]:
    """Limits are those of ingress-nginx; Tailscale's proxies know none."""
    for name, entry in settings.applications.entries.items():
        if entry.ingress_class == TAILSCALE_CLASS and entry.limits.model_fields_set:
            value = entry.limits.model_dump(by_alias=True, exclude_none=True)
            reason = "would have no effect: Tailscale's proxies know no limits"
            yield Problem(f"applications.{name}.limits", value, reason, WITHOUT)


def class_limits(settings: Settings) -> Iterator[Problem]:
    """Limits of a class are numbers that NGINX takes."""
    for name, controller in settings.ingress.classes.items():
        if controller.limits is None:
            continue
        given = {
            "requestsPerMinute": (controller.limits.requests_per_minute, MOST_REQUESTS),
            "connections": (controller.limits.connections, MOST_CONNECTIONS),
        }
        for key, (value, most) in given.items():
            if value > most:
                reason = f"is more than the {most} that NGINX takes; the controller would keep its last configuration"
                yield Problem(f"ingress.classes.{name}.limits.{key}", value, reason, most)


RULES = (classes, hosts, limits, class_limits)
