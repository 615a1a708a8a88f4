"""Network policies: there, valid, enforced, and letting through what the program lets through."""

from collections.abc import Iterator, Mapping
from typing import Any

from cli.doctor.context import Context, UnseenError, condition, is_ready, name_of
from cli.doctor.findings import Finding, critical, note, unknown
from cli.doctor.probes import ProbeError
from cli.doctor.registry import check
from cli.network import POLICIES, Network
from cli.verdicts import Judge, Verdict
from settings.policies import infrastructure
from settings.policies.flows import restricted

PATHS = {
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "CiliumNetworkPolicy": "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
}
DNS = "cluster DNS"


def _declared(context: Context) -> dict[str, Mapping[str, Any]]:
    """Policies of the stack's state by `kind namespace/name`."""
    manifests = [resource.inputs for resource in context.state if resource.inputs.get("kind") in POLICIES]
    return {_title(manifest["kind"], manifest): manifest for manifest in manifests}


def _title(kind: str, manifest: Mapping[str, Any]) -> str:
    return f"{kind} {name_of(manifest)}"


@check("policies", "declared policies exist and Cilium accepts them", "networkPolicies")
def policies(context: Context) -> Iterator[Finding]:
    """By the policy objects and their status, against the stack's state."""
    if not context.settings.network_policies.enabled:
        return
    found = {_title(kind, item): item for kind, path in PATHS.items() for item in context.items(path)}
    declared = _declared(context)
    if not declared:
        yield unknown("policies", "the stack has no state yet")
    for title, manifest in declared.items():
        if title not in found:
            namespace = manifest["metadata"].get("namespace", "")
            key = f"networkPolicies.namespaces.{namespace}"
            yield critical(title, "does not exist", "as deployed", config=key, next_=context.up)
    for title, item in found.items():
        valid = condition(item, "Valid")
        if valid.get("status") == "False":
            kind, namespace = title.partition(" ")[0].lower(), item["metadata"].get("namespace")
            place = f"-n {namespace} " if namespace else ""
            yield critical(
                title,
                f"is refused by Cilium: {valid.get('message', '')}",
                "valid",
                config="networkPolicies",
                next_=context.kubectl(f"{place}get {kind} {item['metadata']['name']} -o yaml"),
            )


@check("flows", "policies let through names, the tunnel and the way to applications", "networkPolicies")
def flows(context: Context) -> Iterator[Finding]:
    """By Cilium's own policy engine over the cluster's policies: what the deployed ones allow and these don't."""
    network, declared = context.network(), list(_declared(context).values())
    if not declared and context.settings.network_policies.enabled:
        raise UnseenError("the stack has no state yet, so that nothing says what was meant")
    ends = {str(pods): pods.endpoint() for pods in network.pods}
    queries = list(_vital(context, network))
    enforcement = context.settings.cilium.policy_enforcement.value
    wanted = Judge(declared, ends, enforcement, network.namespaces).verdicts(queries)
    live = Judge(network.policies, ends, network.enforcement, network.namespaces)
    for query, intended, verdict in zip(queries, wanted, live.verdicts(queries), strict=True):
        if intended.allowed and not verdict.allowed:
            yield _blocked(context, network, live, query, verdict)


def _vital(context: Context, network: Network) -> Iterator[Mapping[str, Any]]:
    for pods in network.pods:
        yield {"from": str(pods), "to": DNS, "port": 53, "protocol": "UDP"}
    for each in context.settings.published:
        source = network.controller(each.ingress_class)
        target = next((p for p in network.pods if p.selected_by(each.namespace, each.pod_labels)), None)
        if target and source in network.pods:
            yield {"from": str(source), "to": str(target), "port": each.pod_port}
    edge = context.settings.cloudflare
    if edge.enabled and (connectors := network.cloudflared()) in network.pods:
        controller = network.controller(edge.tunnel.ingress_class)
        yield {"from": str(connectors), "to": str(controller), "port": 443}
        yield {"from": str(connectors), "to": "internet", "port": 7844}


def _blocked(context: Context, network: Network, live: Judge, query: Mapping[str, Any], verdict: Verdict) -> Finding:
    culprits = _culprits(network, live, query, verdict)
    by = f" ({', '.join(culprits)})" if len(culprits) > 1 else ""
    direction = "leaving" if not verdict.egress["allowed"] else "arriving"
    subject = culprits[0] if culprits else f"flow {query['from']} to {query['to']}"
    kind, _, place = subject.partition(" ")
    namespace, _, name = place.rpartition("/")
    show = context.kubectl(f"{f'-n {namespace} ' if namespace else ''}get {kind.lower()} {name} -o yaml")
    return critical(
        subject,
        f"{query['from']} to {query['to']} {query['port']}/{query.get('protocol', 'TCP')} is blocked {direction}{by}",
        "let through, as by the policies deployed",
        config=f"networkPolicies.namespaces.{namespace}",
        next_=show,
    )


def _culprits(network: Network, live: Judge, query: Mapping[str, Any], verdict: Verdict) -> list[str]:
    """The policies without which it would pass, one by one; all that say no where no single one does it."""
    named = [*(verdict.egress["policies"] or ()), *(verdict.ingress["policies"] or ())]
    titles = {title: policy for policy in network.policies if (title := _title(policy["kind"], policy)) in named}
    alone = [
        title
        for title in titles
        if Judge(
            [policy for policy in network.policies if policy is not titles[title]],
            live.endpoints,
            live.enforcement,
            network.namespaces,
        )
        .verdicts([query])[0]
        .allowed
    ]
    return alone or list(titles)


@check("enforcement", "what policies deny is really denied", "networkPolicies")
def enforcement(context: Context) -> Iterator[Finding]:
    """By a connection from here to a pod under default deny, which must fail while one to an open pod succeeds."""
    context.need_lan()
    denied = restricted(context.settings) - infrastructure.namespaces(context.settings)
    pods = [pod for pod in context.items("/api/v1/pods") if is_ready(pod) and not pod["spec"].get("hostNetwork")]
    control = _reachable(
        context, [pod for pod in pods if (pod["metadata"].get("labels") or {}).get("k8s-app") == "kube-dns"], 53
    )
    if control is None:
        raise UnseenError("no route to pod addresses from here, so that a failing connection would prove nothing")
    for pod in pods:
        port = _port(pod)
        if pod["metadata"]["namespace"] in denied and port:
            reached = _reachable(context, [pod], port)
            if reached:
                namespace = pod["metadata"]["namespace"]
                yield critical(
                    f"enforcement in {namespace}",
                    f"a connection from here to {name_of(pod)} port {port} succeeds",
                    "no connection: default deny",
                    config=f"networkPolicies.namespaces.{namespace}.defaultDeny",
                    next_=context.kubectl("-n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg endpoint list"),
                    after=[f"NetworkPolicy {namespace}/default-deny-all", "cilium-config enable-policy"],
                )
            else:
                yield note(
                    f"enforcement in {pod['metadata']['namespace']}", f"{name_of(pod)} can't be reached from here"
                )


def _reachable(context: Context, pods: list[dict[str, Any]], port: int) -> str | None:
    for pod in pods:
        address = (pod.get("status") or {}).get("podIP", "")
        try:
            context.prober.connect(address, port)
        except ProbeError as error:
            if not error.refused:
                continue
        return str(address)
    return None


def _port(pod: Mapping[str, Any]) -> int | None:
    ports = [p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    return ports[0] if ports else None
