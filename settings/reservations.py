"""Whose each fixed LoadBalancer address is: what layers and the settings say together."""

from settings.discovery import GATEWAY
from settings.ingress import release_name
from settings.load_balancer import Reservation
from settings.stack import Settings


def reservations(settings: Settings) -> list[Reservation]:
    """One for each entry of `loadBalancer.addresses`, whether its Service is there or still to come."""
    balancer, namespace = settings.load_balancer, settings.ingress.namespace
    found = []
    for owner, address in balancer.addresses.items():
        place: str | None
        if owner in settings.ingress.classes:
            place, service = namespace, f"{release_name(owner)}-controller"
        elif owner == GATEWAY:
            place, service = namespace, GATEWAY
        elif owner in balancer.services:
            place, _, service = balancer.services[owner].partition("/")
        else:
            place, service = None, owner
        found.append(Reservation(owner, address, service, place))
    return found
