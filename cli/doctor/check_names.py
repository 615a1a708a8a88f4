"""Names inside the cluster and on the LAN."""

from collections.abc import Iterator

from cli.doctor.context import SIMULATED, Context, UnseenError, is_ready
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.probes import ProbeError
from cli.doctor.registry import check
from cli.doctor.workloads import reason, workload
from settings.discovery import GATEWAY, cluster_dns_address
from settings.ingress import ServiceType
from settings.policies.flows import KUBE_DNS

COREDNS = "CoreDNS"
PLUGINS = ("kubernetes", "forward", "ready")
"""What the Corefile needs for cluster names, other names and its readiness probe."""


@check("cluster-dns", "CoreDNS runs, at its address, and answers", "cluster.serviceCidr")
def cluster_dns(context: Context) -> Iterator[Finding]:
    """By Service, pods and Corefile, and by a question where Service addresses are routed to here."""
    service = context.object("/api/v1/namespaces/kube-system/services/kube-dns")
    if service is None and context.simulated:
        raise UnseenError(SIMULATED)
    wanted = str(cluster_dns_address(context.settings.cluster.service_cidr))
    seen = service["spec"].get("clusterIP") if service else None
    if seen != wanted:
        yield critical(
            "Service kube-system/kube-dns",
            f"is at {seen}" if seen else "does not exist",
            f"{wanted}, the address that kubelets give to pods",
            config="cluster.serviceCidr",
            next_=context.kubectl("-n kube-system get service kube-dns -o wide"),
        )
    yield from _coredns_pods(context)
    yield from _corefile(context)
    context.need_lan()
    yield from _cluster_answer(context, wanted)


def _coredns_pods(context: Context) -> Iterator[Finding]:
    pods = [
        pod
        for pod in context.items("/api/v1/pods")
        if pod["metadata"]["namespace"] == KUBE_DNS.namespace
        and KUBE_DNS.labels.items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    ready = [pod for pod in pods if is_ready(pod)]
    if len(ready) < 2:
        others = "; ".join(f"{pod['metadata']['name']} {reason(pod)}" for pod in pods if not is_ready(pod))
        problem = warning if ready else critical
        yield problem(
            COREDNS,
            f"{len(ready)} ready pods" + (f": {others}" if others else ""),
            "2 or more",
            config="discovery.coredns",
            next_=context.kubectl("-n kube-system describe pods -l k8s-app=kube-dns"),
            after=[f"node {pod['spec'].get('nodeName')}" for pod in pods if not is_ready(pod)],
        )


def _corefile(context: Context) -> Iterator[Finding]:
    found = context.object("/api/v1/namespaces/kube-system/configmaps/coredns")
    if found is None:
        yield unknown("Corefile", "there is no ConfigMap kube-system/coredns")
        return
    words = (found.get("data") or {}).get("Corefile", "").split()
    for plugin in PLUGINS:
        if plugin not in words:
            yield warning(
                "Corefile",
                f"has no plugin {plugin}",
                ", ".join(PLUGINS),
                config="discovery.coredns",
                next_=context.kubectl("-n kube-system get configmap coredns -o yaml"),
            )


def _cluster_answer(context: Context, server: str) -> Iterator[Finding]:
    domain, wanted = context.settings.discovery.coredns.cluster_domain, str(context.settings.cluster.service_cidr[1])
    name = f"kubernetes.default.svc.{domain}"
    try:
        seen = context.prober.resolve(name, server)
    except ProbeError as error:
        yield unknown("cluster DNS", f"no answer, and Service addresses need no route to here: {error}")
        return
    if seen != (wanted,):
        yield critical(
            "cluster DNS",
            f"{name} is {', '.join(seen) or 'unknown'}",
            wanted,
            config="cluster.serviceCidr",
            next_=f"dig @{server} {name}",
            after=[COREDNS],
        )


@check("lan-dns", "k8s-gateway answers the LAN with the classes' addresses", "discovery.lanDns")
def lan_dns(context: Context) -> Iterator[Finding]:
    """By its Deployment, and by questions over UDP and TCP from here."""
    discovery = context.settings.discovery
    if not discovery.enabled or not discovery.lan_dns:
        return
    name = f"{context.settings.ingress.namespace}/{GATEWAY}"
    replicas = discovery.lan_dns.replicas
    yield from workload(context, "Deployment", name, config="discovery.lanDns.replicas", replicas=replicas)
    context.need_lan()
    server = str(context.settings.load_balancer.addresses[GATEWAY])
    after = [f"Deployment {name}", f"Service {name}", f"announcement of {server}"]
    for tcp in (False, True):
        for host, wanted in _lan_hosts(context).items():
            transport = "TCP" if tcp else "UDP"
            try:
                seen = context.prober.resolve(host, server, tcp=tcp)
            except ProbeError as error:
                answer = f"no answer over {transport}: {error}"
            else:
                answer = "" if not wanted or seen == (wanted,) else f"{host} is {', '.join(seen) or 'unknown'}"
            if answer:
                yield critical(
                    "LAN DNS",
                    answer,
                    f"{host} is {wanted}" if wanted else "an answer",
                    config="loadBalancer.addresses.k8s-gateway",
                    next_=f"dig @{server} {host}{' +tcp' if tcp else ''}",
                    after=after,
                )


def _lan_hosts(context: Context) -> dict[str, str]:
    """Published hosts with the address that the LAN should see; without any, one name of which any answer will do."""
    settings = context.settings
    given = {name: str(address) for name, address in settings.load_balancer.addresses.items()}
    hosts = {
        each.host: given[each.ingress_class]
        for each in settings.published
        if each.ingress_class in settings.ingress.classes
        and settings.ingress.classes[each.ingress_class].service_type is ServiceType.LOAD_BALANCER
    }
    return hosts or {f"doctor.{settings.cluster.domain}": ""}
