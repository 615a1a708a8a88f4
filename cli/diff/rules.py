"""What in a difference is noise, and what is dangerous: two tables, each line a rule."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any

from cli.addresses import POOL, Move
from cli.diff.fields import ABSENT, Field, text_of
from rehearsal.control_plane.address_pools import Pool

POLICIES = ("NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
CRD = "CustomResourceDefinition"
KEEP = "helm.sh/resource-policy"

# ---- noise

_NOISE = (
    (r"(.*\.)?metadata\.labels\[helm\.sh/chart\]", "chart label"),
    (r"(.*\.)?metadata\.labels\[app\.kubernetes\.io/version\]", "version label"),
    (r"(.*\.)?metadata\.annotations\[checksum/.*\]", "checksum"),
    (r"(.*\.)?metadata\.annotations\[[^]]*(checksum|configmap-digest|config-hash)[^]]*\]", "checksum"),
    (r".*\.caBundle", "certificate authority of a webhook"),
    (r"data\[(ca\.crt|ca\.key|tls\.crt|tls\.key)\]", "generated certificate"),
)


def noise(kind: str, field: Field) -> str:
    """Why a field tells nothing by itself, in a few words; empty when it does."""
    if field.path.startswith("data[") and kind != "Secret":
        return ""
    return next((name for pattern, name in _NOISE if re.fullmatch(pattern, field.path)), "")


# ---- dangers


@dataclass(frozen=True)
class Danger:
    """Something to look at before it is done. `rule` names the line of the table; the less grave ones are remarks."""

    rule: str
    text: str
    grave: bool = True


@dataclass(frozen=True)
class Context:
    """One object's difference as rules see it, and what decides how it ends.

    `nodes` is the number of nodes, `policies` are all policies of the stack before, `given_up` are the addresses of
    Services that go, with the Service. `moves` are the addresses that running Services lose, `held` those that they
    keep, with the Service `namespace/name`.
    """

    kind: str
    operation: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    fields: tuple[Field, ...]
    helm: bool = False
    protected: bool = False
    nodes: int = 0
    policies: tuple[Mapping[str, Any], ...] = ()
    given_up: Mapping[str, str] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """Marks a difference of these kinds (patterns): in fields at `path` (a regular expression), or in one operation.

    `text` is a format of before, after, path and nodes.
    """

    name: str
    kinds: str
    text: str
    path: str = ""
    operations: tuple[str, ...] = ("changed",)
    when: Callable[[Context, Field | None], bool] = lambda _context, _field: True
    grave: bool = True

    def marks(self, context: Context) -> Iterator[Danger]:
        """What this rule has to say of a difference."""
        if context.operation not in self.operations or not any(map(_matcher(context.kind), self.kinds.split())):
            return
        for entry in context.fields if self.path else (None,):
            if entry and not re.fullmatch(self.path, entry.path):
                continue
            if self.when(context, entry):
                before, after = (_short(entry.before), _short(entry.after)) if entry else ("", "")
                path = entry.path if entry else ""
                text = self.text.format(before=before, after=after, path=path, nodes=context.nodes)
                yield Danger(self.name, text, self.grave)
                if "{path}" not in self.text and "{after}" not in self.text:
                    return


def _matcher(kind: str) -> Callable[[str], bool]:
    return lambda pattern: fnmatchcase(kind, pattern)


def _short(value: Any) -> str:
    text = "none" if value is ABSENT else text_of(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _rolls(context: Context, _field: Field | None) -> bool:
    strategy = (context.after.get("spec") or {}).get("updateStrategy") or {}
    return strategy.get("type") != "OnDelete"


def _frozen(context: Context, _field: Field | None) -> bool:
    return bool(context.before.get("immutable"))


def _outside(context: Context, _field: Field | None) -> bool:
    return (context.before.get("spec") or {}).get("type") in {"LoadBalancer", "NodePort"}


def _always_enforced(_context: Context, field: Field | None) -> bool:
    return field is not None and field.after == "always"


def _by_helm(context: Context, _field: Field | None) -> bool:
    return context.helm


def _turned_off(_context: Context, field: Field | None) -> bool:
    return field is not None and field.after == "disabled"


def _served_version_goes(_context: Context, field: Field | None) -> bool:
    return field is not None and field.after is ABSENT


_IMMUTABLE = {
    "DaemonSet Deployment": r"spec\.selector(\..*|\[.*)?",
    "StatefulSet": r"spec\.(selector|serviceName|volumeClaimTemplates|podManagementPolicy)(\..*|\[.*)?",
    "Job": r"spec\.(selector|template|completionMode)(\..*|\[.*)?",
    "Service": r"spec\.clusterIPs?(\[.*)?",
    "RoleBinding ClusterRoleBinding": r"roleRef\..*",
    "IngressClass": r"spec\.controller",
    "StorageClass": r"(provisioner|parameters.*|reclaimPolicy|volumeBindingMode)",
    "PersistentVolumeClaim": r"spec\.(storageClassName|accessModes|volumeName|selector).*",
    "CustomResourceDefinition": r"spec\.(scope|group|names\.(kind|plural))",
    "Secret": r"type",
    "PriorityClass": r"value",
}
_HELM_REFUSES = "{path} can't be changed: Helm refuses, and the update is rolled back. Delete the object first"
_POLICY = " (`./anton reach --changes` says for whom)"


def _immutable() -> Iterator[Rule]:
    for kinds, path in _IMMUTABLE.items():
        yield Rule("immutable", kinds, _HELM_REFUSES, path, when=_by_helm)
        yield Rule("immutable", kinds, "{path} can't be changed: deleted and created again", path, ("replaced",))
    for operations, text in ((("changed",), _HELM_REFUSES), (("replaced",), "immutable: deleted and created again")):
        yield Rule("immutable", "Secret ConfigMap", text, r"(data|stringData|binaryData).*", operations, _frozen)


RULES: tuple[Rule, ...] = (
    Rule("restart-nodes", "DaemonSet", "restarts on all {nodes} nodes", r"spec\.template\..*", when=_rolls),
    Rule("restart", "Deployment StatefulSet", "its pods restart", r"spec\.template\..*", grave=False),
    *_immutable(),
    Rule("replaced", "*", "is deleted and created again", operations=("replaced",)),
    Rule("namespace-removed", "Namespace", "everything in it is deleted with it", operations=("removed",)),
    Rule(
        "crd-removed",
        CRD,
        "all objects of its kind are deleted with it",
        operations=("removed",),
    ),
    Rule(
        "crd-kept", "CustomResourceDefinition", "stays in the cluster, with nobody to update it", operations=("kept",)
    ),
    Rule(
        "crd-not-updated",
        CRD,
        "Helm does not update what is in a chart's crds folder: `kubectl apply --server-side` it by hand",
        operations=("not updated",),
    ),
    Rule(
        "crd-version",
        CRD,
        "{path} is no longer served",
        r"spec\.versions\[[^]]*\]",
        when=_served_version_goes,
    ),
    Rule(
        "policy-enforcement",
        "ConfigMap",
        "Cilium denies what no policy allows, in every namespace, cluster DNS included"
        " (`./anton reach --changes` says for whom)",
        r"data(\.enable-policy|\[enable-policy\])",
        when=_always_enforced,
    ),
    Rule("service-removed", "Service", "its address is given up", operations=("removed",), when=_outside),
    Rule(
        "service-address",
        "Service",
        "{path}: {before} to {after}",
        r"spec\.(type|loadBalancerIP|loadBalancerClass|externalIPs|clusterIPs?)(\[.*)?"
        r"|metadata\.annotations\[(lbipam\.cilium\.io|io\.cilium)/.*\]",
        ("changed", "replaced"),
    ),
    Rule(
        "dnssec",
        "ZoneDnssec",
        "the domain is bogus for every resolver that validates, as long as the registrar has its DS record: take that "
        "away first, and wait for its TTL (docs/cloudflare-zone.md)",
        r"status",
        when=_turned_off,
    ),
    Rule("class", "Ingress", "class {before} to {after}", r"spec\.ingressClassName", ("changed", "replaced")),
    Rule("class", "IngressClass", "controller {before} to {after}", r"spec\.controller", ("changed", "replaced")),
    Rule("class-removed", "IngressClass", "no controller serves its Ingress objects any more", operations=("removed",)),
    Rule("selector", "Service", "selects other pods", r"spec\.selector(\..*|\[.*)?", ("changed", "replaced")),
    Rule(
        "selector", "PodDisruptionBudget", "guards other pods", r"spec\.selector(\..*|\[.*)?", ("changed", "replaced")
    ),
    Rule(
        "selector",
        " ".join(POLICIES),
        "restricts other pods",
        r"specs?(\[.*\])?\.(podSelector|endpointSelector|nodeSelector)(\..*|\[.*)?",
        ("changed", "replaced"),
    ),
)


def dangers(context: Context) -> list[Danger]:
    """Everything that the table marks in a difference, protection and policies included."""
    found = [danger for rule in RULES for danger in rule.marks(context)]
    if any(danger.rule == "immutable" for danger in found):
        found = [danger for danger in found if danger.rule != "replaced"]
    if context.protected and context.operation in {"removed", "replaced"}:
        found.append(Danger("protected", "is protected: Pulumi refuses to delete it"))
    if context.kind in POLICIES:
        found += _denials(context)
    if context.kind == "Service" and context.operation in {"added", "changed", "replaced"}:
        found += _waits(context)
    if context.kind == POOL:
        found += [Danger("address-lost", str(move)) for move in context.moves if _gave(context, move)]
    return list(dict.fromkeys(found))


# ---- addresses that are not free yet


def addresses(service: Mapping[str, Any]) -> set[str]:
    """The LoadBalancer addresses that a Service asks for and shares with none."""
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    if "lbipam.cilium.io/sharing-key" in annotations:
        return set()
    asked = [*annotations.get("lbipam.cilium.io/ips", "").split(","), (service.get("spec") or {}).get("loadBalancerIP")]
    return {address.strip() for address in asked if address}


def _waits(context: Context) -> Iterator[Danger]:
    metadata = context.after.get("metadata") or {}
    own = f"{metadata.get('namespace')}/{metadata.get('name')}"
    for address in sorted(addresses(context.after) - addresses(context.before)):
        if context.operation == "added" and (holder := context.given_up.get(address)):
            text = f"waits for {address}: {holder} holds it until it is deleted, which comes later. Take two updates"
            yield Danger("address-held", text)
        elif (holder := context.held.get(address, own)) != own:
            text = f"waits for {address} until the update is rolled back: Service {holder} holds it, and keeps it"
            yield Danger("address-held", text)


def _gave(context: Context, move: Move) -> bool:
    """Whether a pool has, or had, the address that moves."""
    pools = [Pool.of(side) for side in (context.before, context.after) if side]
    return any(ip_address(move.address) in part for pool in pools for part in pool.ranges)


# ---- policies that newly deny

_DIRECTIONS = ("ingress", "egress")


def _denials(context: Context) -> Iterator[Danger]:
    for direction in _DIRECTIONS:
        old, new = _parts(context.before, direction), _parts(context.after, direction)
        for selector in new:
            if not any(other in (selector, "{}") for other in (*old, *_others(context, direction))):
                text = f"first policy for {direction} of {_pods(selector)}: what it does not let through is denied"
                yield Danger("policy-denies", text + _POLICY)
    if gone := _allows(context.before) - _allows(context.after):
        yield Danger("policy-denies", f"lets {len(gone)} flow{'s' * (len(gone) > 1)} through no more{_POLICY}")
    if denies := _allows(context.after, "Deny") - _allows(context.before, "Deny"):
        yield Danger("policy-denies", f"denies {len(denies)} flow{'s' * (len(denies) > 1)} outright{_POLICY}")


def _specs(policy: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [spec for spec in (policy.get("spec"), *(policy.get("specs") or ())) if spec]


def _parts(policy: Mapping[str, Any], direction: str) -> list[str]:
    """The selectors for which a policy restricts a direction."""
    found = []
    for spec in _specs(policy):
        if policy["kind"] == "NetworkPolicy":
            restricts = direction == "ingress" or "egress" in spec
            if "policyTypes" in spec:
                restricts = direction in [kind.lower() for kind in spec["policyTypes"]]
        else:
            default = (spec.get("enableDefaultDeny") or {}).get(direction)
            restricts = any(key in spec for key in (direction, f"{direction}Deny")) if default is None else default
        if restricts:
            found.append(_selector(spec))
    return found


def _selector(spec: Mapping[str, Any]) -> str:
    names = ("podSelector", "endpointSelector", "nodeSelector")
    selector: Mapping[str, Any] = next((spec[name] for name in names if spec.get(name)), {})
    return text_of({key: selector[key] for key in sorted(selector) if selector[key]})


def _others(context: Context, direction: str) -> Iterator[str]:
    """Selectors that other policies of the namespace restrict already."""
    metadata = context.after.get("metadata") or {}
    for policy in context.policies:
        own = policy["metadata"]
        if policy["kind"] == context.kind and own.get("name") == metadata.get("name"):
            continue
        if own.get("namespace", "") == metadata.get("namespace", ""):
            yield from _parts(policy, direction)


def _pods(selector: str) -> str:
    return "all pods" if selector == "{}" else f"pods {selector}"


def _allows(policy: Mapping[str, Any], suffix: str = "") -> set[str]:
    return {
        f"{direction} {text_of(rule)}"
        for spec in _specs(policy)
        for direction in _DIRECTIONS
        for rule in spec.get(direction + suffix) or []
    }
