"""Rules between network policies and the traffic that the other layers need."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from settings.cilium import PolicyEnforcement
from settings.cloudflare.tunnel import origin_of
from settings.fields import WITHOUT, Problem, known, readable
from settings.policies import flows, infrastructure, tunnel
from settings.policies.model import Flow, unseen_labels
from settings.policies.traffic import Allow, Pods, Policy
from settings.rules import egress, origins
from settings.rules.namespaces import SYSTEM_NAMESPACES
from settings.stack import Settings

Rule = Callable[[Settings], Iterator[Problem]]


def namespaces(settings: Settings) -> Iterator[Problem]:
    """Namespaces of applications are not the cluster's, and Prometheus is under no default deny."""
    policies = settings.network_policies
    for name in policies.namespaces:
        key = f"networkPolicies.namespaces.{name}"
        if reason := SYSTEM_NAMESPACES.get(name):
            yield Problem(key, name, reason, "production")
        elif policies.enabled and name == settings.monitoring.namespace and policies.namespaces[name].default_deny:
            reason = "is where Prometheus runs; a default deny would stop it from scraping anything"
            yield Problem(f"{key}.defaultDeny", True, reason, False, because=("monitoring.namespace",))
    denied = infrastructure.namespaces(settings) if policies.infrastructure.default_deny else set()
    if policies.enabled and settings.monitoring.namespace in denied:
        reason = f"would stop Prometheus, which runs in {settings.monitoring.namespace}, from scraping anything"
        key = "networkPolicies.infrastructure.defaultDeny"
        yield Problem(key, True, reason, False, because=("monitoring.namespace",))


def always_enforced(settings: Settings) -> Iterator[Problem]:
    """Where every pod is restricted, policies let through what the cluster, the network and applications need."""
    if settings.cilium.policy_enforcement is not PolicyEnforcement.ALWAYS:
        return
    policies, wanted = settings.network_policies, "networkPolicies"
    if not policies.enabled:
        wanted, cut = f"{wanted}.enabled", "everything: cluster DNS, the tunnel and all applications"
    elif not policies.infrastructure.allow_system:
        wanted, cut = f"{wanted}.infrastructure.allowSystem", "kube-system, and with it cluster DNS"
    elif not policies.infrastructure.default_deny:
        wanted, cut = f"{wanted}.infrastructure.defaultDeny", "the ingress controllers, the tunnel and what serves them"
    elif uncovered := sorted(_spoken_of(settings) - flows.restricted(settings) - _exempt(settings)):
        wanted, cut = f"{wanted}.namespaces.{uncovered[0]}", f"namespace {', '.join(uncovered)}"
    else:
        return
    reason = f"cuts off {cut}: no policy of this stack lets it through, until {wanted} is set and deployed"
    yield Problem("cilium.policyEnforcement", "always", reason, "default", origins.BASE)


def _exempt(settings: Settings) -> set[str]:
    return {policy.namespace for policy in infrastructure.exemptions(settings)}


def _spoken_of(settings: Settings) -> set[str]:
    """Namespaces whose pods the settings want reached, or let reach something."""
    found = {application.namespace for application in settings.published}
    for name, namespace in settings.network_policies.namespaces.items():
        ends = [pods for flow in namespace.flows.values() for pods in flows.ends(name, flow)]
        found |= {name, *(pods.namespace for pods in ends)}
    if settings.cloudflare.enabled:
        leads_to = (origin_of(rule.service) for rule in settings.cloudflare.tunnel.rules)
        targets = (tunnel.service_of(settings, origin.host) for origin in leads_to if origin)
        found |= {service.namespace for service in targets if service}
    return found


def flow_ends(settings: Settings) -> Iterator[Problem]:
    """A flow stands under one of its ends, once, and its HTTP rules are enforced."""
    denied = flows.restricted(settings)
    owners: dict[tuple[object, ...], str] = {}

    def judge(name: str, flow_name: str, flow: Flow) -> Iterator[Problem]:
        key = f"networkPolicies.namespaces.{name}.flows.{flow_name}"
        source, destination = flows.ends(name, flow)
        if name not in {source.namespace, destination.namespace}:
            reason = (
                f"is neither the source's nor the destination's namespace, so {name} is the wrong place: it "
                f"belongs under {destination.namespace}"
            )
            yield Problem(key, name, reason, WITHOUT)
        same = (*_sorted(source), *_sorted(destination), flow.port, flow.protocol)
        first = owners.setdefault(same, key)
        if first != key:
            reason = f"lets through what {first} does"
            yield Problem(key, flow_name, reason, WITHOUT, because=(first,))
        if flow.http and destination.namespace not in denied:
            reason = f"can't be enforced: namespace {destination.namespace} is under no default deny of this program"
            because = ("networkPolicies.infrastructure", f"networkPolicies.namespaces.{destination.namespace}")
            yield Problem(f"{key}.http", _shown(flow), reason, WITHOUT, because)

    namespaces = settings.network_policies.namespaces
    for name, entries in known(namespaces, lambda name: namespaces[name].flows):
        yield from readable(*(judge(name, flow_name, flow) for flow_name, flow in known(entries, entries.__getitem__)))


def _shown(flow: Flow) -> list[dict[str, object]]:
    return [rule.model_dump(mode="json", by_alias=True, exclude_defaults=True) for rule in flow.http]


def _sorted(pods: Pods) -> tuple[object, ...]:
    return (pods.namespace, tuple(sorted(pods.labels.items())))


def policy_names(settings: Settings) -> Iterator[Problem]:
    """No two policies share a name, in their namespace or in Pulumi's state, which joins both by a hyphen."""
    own = infrastructure.namespaces(settings)  # refused by rules.namespaces
    names = Counter((policy.namespace, policy.name) for policy in _policies(settings))
    for (namespace, name), count in names.items():
        if count > 1 and namespace not in own:
            reason = f"would be the name of {count} policies in namespace {namespace}: two entries are named alike"
            yield Problem(
                f"networkPolicies.namespaces.{namespace}", name, reason, "another name for one of the entries"
            )
    joined: dict[tuple[bool, str], str] = {}
    for policy in _policies(settings):
        first = joined.setdefault((policy.is_native, f"{policy.namespace}-{policy.name}"), policy.namespace)
        if first != policy.namespace and policy.namespace not in own:
            reason = f"would be {policy.namespace}-{policy.name} in Pulumi's state, as a policy of namespace {first} is"
            key, because = f"networkPolicies.namespaces.{policy.namespace}", (f"networkPolicies.namespaces.{first}",)
            yield Problem(key, policy.name, reason, "another name for the entry", because)


def http_rules(settings: Settings) -> Iterator[Problem]:
    """HTTP rules are not voided by another policy that lets the same pods through without any."""
    accepting = [(policy, allow) for policy in _policies(settings) for allow in policy.ingress or ()]
    for narrow, rules in accepting:
        if not rules.http:
            continue
        for wide, allow in accepting:
            if not allow.http and narrow.pods.may_overlap(wide.pods) and _covers(allow, rules):
                reason = (
                    f"HTTP rules of {narrow.name} have no effect: {wide.name} lets the same pods through without any"
                )
                key = f"networkPolicies.namespaces.{narrow.namespace}"
                yield Problem(key, narrow.name, reason, f"without {wide.name}, or without the HTTP rules")


def _covers(wide: Allow, narrow: Allow) -> bool:
    """Whether an allow reaches a port and a pod of another."""
    ports = not wide.ports or bool(set(wide.ports) & set(narrow.ports))
    pods = [(one, other) for one in wide.peers for other in narrow.peers]
    return ports and any(
        one.may_overlap(other) for one, other in pods if isinstance(one, Pods) and isinstance(other, Pods)
    )


def proxy(settings: Settings) -> Iterator[Problem]:
    """HTTP and domain rules run in Cilium's proxy."""
    if settings.cilium.l7_proxy:
        return
    for name, namespace in settings.network_policies.namespaces.items():
        key = f"networkPolicies.namespaces.{name}"
        reason = "is enforced by Cilium's proxy, and cilium.l7Proxy is false"
        for flow_name, flow in namespace.flows.items():
            if flow.http:
                yield Problem(f"{key}.flows.{flow_name}.http", _shown(flow), reason, WITHOUT)
        for egress_name, entry in namespace.egress.items():
            if entry.domains:
                yield Problem(f"{key}.egress.{egress_name}.to", list(entry.to), reason, ["192.0.2.0/24"])


def visible_labels(settings: Settings) -> Iterator[Problem]:
    """Published applications under default deny, and Prometheus, have labels that policies can see."""
    denied = flows.restricted(settings)
    for application in settings.published:
        if application.namespace in denied:
            for problem in unseen_labels(dict(application.pod_labels)):
                yield replace(problem.under(f"applications.{application.name}.podLabels"), because=origins.BASE)
    if denied:
        yield from (
            replace(problem.under("monitoring.prometheusLabels"), because=origins.BASE)
            for problem in unseen_labels(settings.monitoring.prometheus_labels)
        )


def _policies(settings: Settings) -> list[Policy]:
    return flows.policies(settings)


def _where_enforced(rule: Rule) -> Rule:
    """A rule for stacks with network policies only."""
    return lambda settings: rule(settings) if settings.network_policies.enabled else iter(())


# Namespaces are created with the policies or without them.
RULES: tuple[Rule, ...] = (
    namespaces,
    always_enforced,
    *map(
        _where_enforced,
        (flow_ends, policy_names, http_rules, proxy, *egress.RULES, *origins.ENFORCED, visible_labels),
    ),
)
