"""Pods of the network that keep restarting, whatever they belong to."""

from collections.abc import Iterator
from datetime import datetime

from cli.doctor.context import Context
from cli.doctor.findings import Finding, warning
from cli.doctor.registry import check

RECENTLY_SECONDS = 3600


@check("restarts", "no pod of the network keeps restarting", "cilium, ingress, certificates, tailscale")
def restarts(context: Context) -> Iterator[Finding]:
    """By the pods' containers, in kube-system and the network's own namespaces."""
    settings = context.settings
    keys = {
        "kube-system": "cilium",
        settings.ingress.namespace: "ingress",
        settings.certificates.namespace: "certificates",
        settings.tailscale.namespace: "tailscale",
    }
    for pod in context.items("/api/v1/pods"):
        if pod["metadata"]["namespace"] not in keys:
            continue
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("lastState") or {}).get("terminated") or {}
            at = ended.get("finishedAt")
            if at and (context.now - datetime.fromisoformat(at)).total_seconds() < RECENTLY_SECONDS:
                namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
                yield warning(
                    f"pod {namespace}/{name}",
                    f"container {container['name']} restarted {container['restartCount']} times, last at {at}: "
                    f"{ended.get('reason', 'no reason given')}",
                    "no restart within the hour",
                    config=keys[pod["metadata"]["namespace"]],
                    next_=context.kubectl(f"-n {namespace} logs {name} -c {container['name']} --previous"),
                    after=[f"node {pod['spec'].get('nodeName')}"],
                )
