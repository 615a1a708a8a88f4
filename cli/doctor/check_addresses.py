"""LoadBalancer addresses: the pools they come from, the Services that have them, and who announces them."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from cli.doctor.context import SIMULATED, Context, condition, name_of
from cli.doctor.findings import Finding, critical, note, unknown, warning
from cli.doctor.registry import check
from cli.network import LB_ADDRESS, addressed
from components.cilium.load_balancer import announcing_interfaces
from components.cilium.load_balancer import pools as pool_manifests
from settings.load_balancer import RESERVED
from settings.reservations import reservations

LEASE_PREFIX = "cilium-l2announce-"
POOLS = "/apis/cilium.io/v2/ciliumloadbalancerippools"


@check("pools", "address pools are those declared, without conflict, not used up", "loadBalancer.pools")
def pools(context: Context) -> Iterator[Finding]:
    """By the pool objects and what Cilium's operator says of them."""
    settings = context.settings
    declared = {each["name"]: each["spec"] for each in pool_manifests(settings.load_balancer, reservations(settings))}
    found = {pool["metadata"]["name"]: pool for pool in context.items(POOLS)}
    for name, spec in declared.items():
        owner = name.removeprefix(RESERVED) if "serviceSelector" in spec else None
        subject, key = f"pool {name}", f"loadBalancer.addresses.{owner}" if owner else f"loadBalancer.pools.{name}"
        addresses = ", ".join(map(_block, spec["blocks"]))
        show = context.kubectl(f"get ciliumloadbalancerippool {name} -o yaml")
        pool = found.get(name)
        blocks = pool["spec"].get("blocks") or [] if pool else []
        if pool is None:
            yield critical(subject, "does not exist", addresses, config=key, next_=context.up)
        elif blocks != spec["blocks"]:
            seen = "is empty" if not blocks else "has " + ", ".join(map(_block, blocks))
            yield critical(subject, seen, addresses, config=key, next_=f"{show} && {context.up}")
        elif pool["spec"].get("serviceSelector") != spec.get("serviceSelector"):
            wanted = "only its own Service" if owner else "any Service"
            yield critical(subject, "serves other Services", wanted, config=key, next_=f"{show} && {context.up}")
        elif pool["spec"].get("disabled"):
            yield critical(subject, "is disabled", "enabled", config=key, next_=show)
        else:
            yield from _state(subject, pool, key, show, full=owner is not None)
    for name in sorted(found.keys() - declared.keys()):
        blocks = ", ".join(map(_block, found[name]["spec"].get("blocks") or []))
        show = context.kubectl(f"get ciliumloadbalancerippool {name} -o yaml")
        seen = f"gives out {blocks or 'nothing'}"
        yield warning(f"pool {name}", seen, "only declared pools", config="loadBalancer.pools", next_=show)


def _state(subject: str, pool: Mapping[str, Any], key: str, show: str, *, full: bool) -> Iterator[Finding]:
    """What Cilium's operator says of a pool; `full` is one whose only address is meant to be in use."""
    conflict = condition(pool, "cilium.io/PoolConflict")
    if conflict.get("status") == "True":
        yield critical(subject, f"conflicts: {conflict.get('message', '')}", "no overlap", config=key, next_=show)
    if not full and condition(pool, "cilium.io/IPsAvailable").get("message") == "0":
        used = condition(pool, "cilium.io/IPsUsed").get("message", "?")
        yield warning(subject, f"has no address left, {used} are in use", "some left", config=key, next_=show)


def _block(block: Mapping[str, str]) -> str:
    start = block.get("start", "")
    stop = block.get("stop") or start
    return block.get("cidr") or (start if start == stop else f"{start}-{stop}")


def declared_addresses(context: Context) -> dict[str, tuple[IPv4Address, str]]:
    """Services `namespace/name` that have a fixed address, with it and the name that it is declared by."""
    addresses = context.settings.load_balancer.addresses
    return {service: (addresses[owner], owner) for service, owner in addressed(context.settings).items()}


@check("addresses", "Services have the addresses declared, each its own", "loadBalancer.addresses")
def addresses(context: Context) -> Iterator[Finding]:
    """By the Services' status, which Cilium's operator writes."""
    services = {name_of(service): service for service in load_balancers(context)}
    for name, (address, owner) in declared_addresses(context).items():
        given = _given(services[name]) if name in services else []
        if str(address) not in given:
            seen = f"has {', '.join(given)}" if given else "has no address"
            if holder := next((other for other, each in services.items() if str(address) in _given(each)), None):
                seen = f"{seen}, and {address} is held by Service {holder}"
            yield _without(context, name, services.get(name), seen, str(address), f"loadBalancer.addresses.{owner}")
    declared = declared_addresses(context)
    for name, service in services.items():
        wanted = (service["metadata"].get("annotations") or {}).get(LB_ADDRESS, "")
        if name not in declared and not _given(service):
            yield _without(context, name, service, "has no address", wanted or "one of a pool", "loadBalancer.pools")
    yield from _shared(context, services)


def load_balancers(context: Context) -> list[dict[str, Any]]:
    """The Services of type LoadBalancer that Cilium serves."""
    return [
        service
        for service in context.items("/api/v1/services")
        if service["spec"].get("type") == "LoadBalancer"
        and service["spec"].get("loadBalancerClass", "io.cilium/l2-announcer").startswith("io.cilium/")
    ]


def _without(
    context: Context, name: str, service: Mapping[str, Any] | None, seen: str, expected: str, key: str
) -> Finding:
    namespace, _, own = name.partition("/")
    if service is None:
        return critical(
            f"Service {name}", "is no LoadBalancer Service here", f"one at {expected}", config=key, next_=context.up
        )
    refused = condition(service, "cilium.io/IPAMRequestSatisfied")
    if refused.get("status") == "False":
        seen = f"{seen}: {refused.get('message') or refused.get('reason')}"
    return critical(
        f"Service {name}",
        seen,
        expected,
        config=key,
        next_=context.kubectl(f"-n {namespace} describe service {own}"),
        after=[
            *(f"pool {pool}" for pool in context.settings.load_balancer.pools),
            *(f"pool {each.pool}" for each in reservations(context.settings)),
            "Deployment kube-system/cilium-operator",
        ],
    )


def _given(service: Mapping[str, Any]) -> list[str]:
    given = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [entry["ip"] for entry in given if entry.get("ip")]


def _shared(context: Context, services: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for name, service in services.items():
        for address in _given(service):
            first = owners.setdefault(address, name)
            if first != name:
                yield critical(
                    f"address {address}",
                    f"belongs to {first} and {name}",
                    "one Service",
                    config="loadBalancer.addresses",
                    next_=context.kubectl("get services -A --field-selector spec.type=LoadBalancer"),
                )


@check("announcements", "every address is announced, by a node that is ready", "loadBalancer.l2")
def announcements(context: Context) -> Iterator[Finding]:
    """By the announcement policy and the Leases that say who answers ARP; for BGP by the sessions of the nodes."""
    balancer = context.settings.load_balancer
    if balancer.pools and balancer.l2.enabled:
        yield from _policy(context)
        yield from _leases(context)
    if balancer.bgp:
        yield from _sessions(context)


def _policy(context: Context) -> Iterator[Finding]:
    balancer = context.settings.load_balancer
    key, subject = "loadBalancer.l2", "L2 announcement policy load-balancer"
    path = "/apis/cilium.io/v2alpha1/ciliuml2announcementpolicies/load-balancer"
    policy = context.object(path)
    if policy is None:
        yield critical(subject, "does not exist", "announcements by ARP", config=key, next_=context.up)
        return
    names = tuple(node.interface for node in context.settings.physical.nodes.values())
    wanted, seen = list(announcing_interfaces(balancer.l2, names)), policy["spec"].get("interfaces") or []
    show = context.kubectl("get ciliuml2announcementpolicy load-balancer -o yaml")
    if seen != wanted or not policy["spec"].get("loadBalancerIPs"):
        text = f"announces on {', '.join(seen) or 'all interfaces'}"
        if not policy["spec"].get("loadBalancerIPs"):
            text = "does not announce LoadBalancer addresses"
        yield critical(subject, text, ", ".join(wanted), config=f"{key}.interfaces", next_=f"{show} && {context.up}")
    for entry in (policy.get("status") or {}).get("conditions") or ():
        if entry["status"] == "True" and any(word in entry["type"].lower() for word in ("error", "bad")):
            yield critical(subject, entry.get("message", ""), "no error", config=key, next_=show)


def _leases(context: Context) -> Iterator[Finding]:
    held = {
        lease["metadata"]["name"].removeprefix(LEASE_PREFIX): lease
        for lease in context.items("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
        if lease["metadata"]["name"].startswith(LEASE_PREFIX)
    }
    with_address = [service for service in load_balancers(context) if _given(service)]
    if not held and context.simulated:
        yield unknown("announcements", SIMULATED)
        return
    nodes = {node["metadata"]["name"] for node in context.items("/api/v1/nodes")}
    for service in with_address:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        yield _holder(context, service, held.get(f"{namespace}-{name}"), nodes)


def _holder(context: Context, service: Mapping[str, Any], lease: Mapping[str, Any] | None, nodes: set[str]) -> Finding:
    address, key = _given(service)[0], "loadBalancer.l2"
    subject = f"announcement of {address}"
    lease_name = LEASE_PREFIX + name_of(service).replace("/", "-")
    show = context.kubectl(f"-n kube-system get lease {lease_name} -o yaml")
    expected = f"one ready node that answers ARP for {name_of(service)}"
    causes = [
        "L2 announcement policy load-balancer",
        "cilium-config enable-l2-announcements",
        "DaemonSet kube-system/cilium",
    ]
    holder = (lease["spec"].get("holderIdentity") or "") if lease else ""
    if not lease or not holder:
        return critical(subject, "nobody holds its lease", expected, config=key, next_=show, after=causes)
    causes = [f"node {holder}", *causes]
    if holder not in nodes or holder in context.not_ready_nodes:
        state = "not ready" if holder in nodes else "no node of the cluster"
        return critical(
            subject, f"is held by {holder}, which is {state}", expected, config=key, next_=show, after=causes
        )
    silent = context.now - datetime.fromisoformat(lease["spec"]["renewTime"])
    patience = timedelta(seconds=context.settings.load_balancer.l2.lease_duration_seconds)
    if silent > 2 * patience:
        seen = f"{holder} holds its lease and was last heard {silent.total_seconds():.0f} s ago"
        limit = f"renewed within {patience.total_seconds():.0f} s"
        return critical(subject, seen, limit, config=f"{key}.leaseDurationSeconds", next_=show, after=causes)
    return note(subject, f"held by {holder}")


def _sessions(context: Context) -> Iterator[Finding]:
    context.need_running_pods()
    wanted = set(context.settings.load_balancer.bgp.peers) if context.settings.load_balancer.bgp else set()
    states = {
        node["metadata"]["name"]: {
            peer["name"]: peer.get("peeringState", "unknown")
            for instance in (node.get("status") or {}).get("bgpInstances") or ()
            for peer in instance.get("peers") or ()
        }
        for node in context.items("/apis/cilium.io/v2/ciliumbgpnodeconfigs")
    }
    for node in context.settings.physical.nodes:
        for peer in sorted(wanted):
            state = states.get(node, {}).get(peer, "no session")
            if state != "established":
                yield critical(
                    f"BGP session of {node} with {peer}",
                    state,
                    "established",
                    config=f"loadBalancer.bgp.peers.{peer}",
                    next_=context.kubectl(f"get ciliumbgpnodeconfig {node} -o yaml"),
                    after=[f"node {node}", "DaemonSet kube-system/cilium"],
                )
