"""Whether a workload runs as declared, and if not, what its pods say why."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cli.doctor.context import Context, is_ready, name_of
from cli.doctor.findings import Finding, critical, warning

PLACES = "nodes that take pods"
"""Subject of what keeps pods from being placed anywhere."""

KINDS = {"Deployment": "deployments", "DaemonSet": "daemonsets"}


def workload(
    context: Context,
    kind: str,
    name: str,
    *,
    config: str,
    replicas: int | None = None,
    after: Iterable[str] = (),
) -> Iterator[Finding]:
    """What is wrong with a workload `namespace/name`; `replicas` are those declared, None for one on every node."""
    subject = f"{kind} {name}"
    namespace, _, own = name.partition("/")
    plural = KINDS[kind]
    found = next((item for item in context.items(f"/apis/apps/v1/{plural}") if name_of(item) == name), None)
    wanted = len(context.settings.physical.nodes) if replicas is None else replicas
    if found is None:
        yield critical(subject, "does not exist", f"{wanted} ready pods", config=config, next_=context.up, after=after)
        return
    asked = found["spec"].get("replicas", 0) if kind == "Deployment" else wanted
    status = found.get("status") or {}
    ready = status.get("readyReplicas" if kind == "Deployment" else "numberReady", 0)
    updated = status.get("updatedReplicas" if kind == "Deployment" else "updatedNumberScheduled", 0)
    if asked < wanted:
        problem = warning if asked else critical
        scale = context.kubectl(f"-n {namespace} scale {kind.lower()}/{own} --replicas={wanted}")
        yield problem(subject, f"is scaled to {asked}", f"{wanted} replicas", config=config, next_=scale)
    elif ready < wanted:
        problem = warning if ready and kind == "Deployment" else critical
        pods = _not_ready(context, found)
        reasons = "; ".join(f"{pod['metadata']['name']} {reason(pod)}" for pod in pods)
        seen = f"{ready} of {wanted} pods are ready" + (f": {reasons}" if reasons else "")
        hosts = [f"node {node}" for pod in pods if (node := pod["spec"].get("nodeName")) in context.not_ready_nodes]
        hosts += [PLACES] if any(not pod["spec"].get("nodeName") for pod in pods) else []
        describe = context.kubectl(f"-n {namespace} describe pods -l {_selector(found)}")
        yield problem(subject, seen, f"{wanted} ready pods", config=config, next_=describe, after=[*hosts, *after])
    elif updated < wanted:
        follow = context.kubectl(f"-n {namespace} rollout status {kind.lower()}/{own}")
        seen = f"{updated} of {wanted} pods run its present template"
        yield warning(subject, seen, "all of them", config=config, next_=follow, after=after)


def reason(pod: Mapping[str, Any]) -> str:
    """Why a pod is not ready, in its own words."""
    status = pod.get("status") or {}
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in {"PodInitializing", "ContainerCreating"}:
            last = ((container.get("lastState") or {}).get("terminated") or {}).get("reason")
            return f"{waiting['reason']}, last ended as {last}" if last else str(waiting["reason"])
    conditions = status.get("conditions") or ()
    said = next((entry["message"] for entry in conditions if entry["status"] == "False" and entry.get("message")), "")
    return said or f"is {status.get('phase', 'without status')} and not ready"


def _not_ready(context: Context, owner: Mapping[str, Any]) -> list[dict[str, Any]]:
    labels = owner["spec"]["selector"].get("matchLabels") or {}
    return [
        pod
        for pod in context.items("/api/v1/pods")
        if pod["metadata"]["namespace"] == owner["metadata"]["namespace"]
        and labels.items() <= (pod["metadata"].get("labels") or {}).items()
        and not is_ready(pod)
    ]


def _selector(owner: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in (owner["spec"]["selector"].get("matchLabels") or {}).items())


def ready_endpoints(context: Context, service: str) -> int:
    """How many ready addresses stand behind a Service `namespace/name`."""
    namespace, _, name = service.partition("/")
    slices = [
        item
        for item in context.items("/apis/discovery.k8s.io/v1/endpointslices")
        if item["metadata"]["namespace"] == namespace
        and (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == name
    ]
    return sum(
        len(end.get("addresses") or ())
        for item in slices
        for end in item.get("endpoints") or ()
        if (end.get("conditions") or {}).get("ready") is not False
    )
