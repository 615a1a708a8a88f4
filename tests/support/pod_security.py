"""The `restricted` level of Kubernetes' Pod Security Standards (1.33), rule by rule, for pods that Pulumi registers."""

from collections.abc import Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}

SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}

SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def restricted_violations(pod: Spec) -> list[str]:
    """What the admission controller would say about a pod spec under `restricted`."""
    containers = [*pod.get("initContainers", []), *pod["containers"], *pod.get("ephemeralContainers", [])]
    return [*_of_pod(pod), *(fault for each in containers for fault in _of_container(each, pod))]


def _of_pod(pod: Spec) -> Iterator[str]:
    context = pod.get("securityContext", {})
    yield from (f"{name} is on" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes", []):
        yield from (f"volume type {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if context.get("runAsUser") == 0:
        yield "the pod runs as root"


def _of_container(container: Spec, pod: Spec) -> Iterator[str]:
    own, shared = container.get("securityContext", {}), pod.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "privilege escalation is allowed"
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are kept"
    yield from (f"capability {name}" for name in capabilities.get("add", []) if name != "NET_BIND_SERVICE")
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield "may run as root"
    if own.get("runAsUser") == 0:
        yield "runs as root"
    if own.get("seccompProfile", shared.get("seccompProfile", {})).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield "unmasked /proc"
    for context in (own, shared):
        if context.get("appArmorProfile", {"type": "RuntimeDefault"})["type"] == "Unconfined":
            yield "AppArmor is off"
        selinux = context.get("seLinuxOptions", {})
        if selinux.keys() & {"user", "role"} or selinux.get("type", "") not in SELINUX_TYPES:
            yield "SELinux options"
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield "Windows host process"
    yield from (f"host port {port['hostPort']}" for port in container.get("ports", []) if port.get("hostPort"))
