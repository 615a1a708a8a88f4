"""Ingress classes: their controllers, admission webhooks, Ingress objects, and requests through each."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509

from cli.doctor.context import SIMULATED, Context, name_of
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.registry import check
from cli.doctor.workloads import ready_endpoints, workload
from settings.applications import TAILSCALE_CLASS
from settings.ingress import release_name

TAILSCALE_CONTROLLER = "tailscale.com/ts-ingress"
_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def controller_of(context: Context, ingress_class: str) -> str:
    """The Deployment `namespace/name` of a class's controller, and the name of its Service."""
    return f"{context.settings.ingress.namespace}/{release_name(ingress_class)}-controller"


@check("ingress-classes", "ingress classes exist with their controllers", "ingress.classes")
def ingress_classes(context: Context) -> Iterator[Finding]:
    """By the IngressClass objects."""
    ingress = context.settings.ingress
    declared = {name: (ingress.controller_value(name), entry.default) for name, entry in ingress.classes.items()}
    if context.settings.tailscale.enabled:
        declared[TAILSCALE_CLASS] = (TAILSCALE_CONTROLLER, False)
    found = {item["metadata"]["name"]: item for item in context.items("/apis/networking.k8s.io/v1/ingressclasses")}
    for name, (controller, default) in declared.items():
        subject, key = f"IngressClass {name}", f"ingress.classes.{name}" if name in ingress.classes else "tailscale"
        show = context.kubectl(f"get ingressclass {name} -o yaml")
        item = found.get(name)
        if item is None:
            yield critical(subject, "does not exist", controller, config=key, next_=context.up)
            continue
        if (seen := item["spec"].get("controller")) != controller:
            yield critical(subject, f"is served by {seen}", controller, config=f"{key}.controllerValue", next_=show)
        is_default = (item["metadata"].get("annotations") or {}).get(_DEFAULT) == "true"
        if is_default != default:
            seen = "is the default class" if is_default else "is not the default class"
            expected = "the default" if default else "no default"
            yield warning(subject, seen, expected, config=f"{key}.default", next_=show)


@check("ingress-controllers", "each class's controller is ready, behind its Service", "ingress.classes")
def ingress_controllers(context: Context) -> Iterator[Finding]:
    """By Deployments and EndpointSlices."""
    for name, entry in context.settings.ingress.classes.items():
        key, controller = f"ingress.classes.{name}", controller_of(context, name)
        replicas = entry.autoscaling.min_replicas if entry.autoscaling else entry.replicas
        key_of_replicas = f"{key}.autoscaling.minReplicas" if entry.autoscaling else f"{key}.replicas"
        yield from workload(context, "Deployment", controller, config=key_of_replicas, replicas=replicas)
        if entry.default_backend:
            backend = f"{context.settings.ingress.namespace}/{release_name(name)}-defaultbackend"
            yield from workload(context, "Deployment", backend, config=f"{key}.defaultBackend", replicas=1)
        if not ready_endpoints(context, controller):
            yield _no_endpoints(context, controller, controller, key)


def _no_endpoints(context: Context, service: str, controller: str, key: str) -> Finding:
    namespace, _, name = service.partition("/")
    return critical(
        f"endpoints of {service}",
        "no ready pod stands behind the Service",
        "one at least",
        config=key,
        next_=context.kubectl(f"-n {namespace} get endpointslices -l kubernetes.io/service-name={name}"),
        after=[f"Deployment {controller}"],
    )


@check("admission-webhooks", "each class's admission webhook can be called", "ingress.classes")
def admission_webhooks(context: Context) -> Iterator[Finding]:
    """By its registration, the pods behind it and its CA. A call would be an attempt to create, so none is made."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    found = {item["metadata"]["name"]: item for item in context.items(path)}
    for name in context.settings.ingress.classes:
        webhook, key = f"{release_name(name)}-admission", f"ingress.classes.{name}"
        subject = f"admission webhook {webhook}"
        show = context.kubectl(f"get validatingwebhookconfiguration {webhook} -o yaml")
        if webhook not in found:
            yield critical(subject, "is not registered", "registered", config=key, next_=context.up)
            continue
        client = found[webhook]["webhooks"][0]["clientConfig"]
        service = f"{client['service']['namespace']}/{client['service']['name']}"
        if not ready_endpoints(context, service):
            yield _no_endpoints(context, service, controller_of(context, name), key)
        yield from _authority(context, subject, client.get("caBundle", ""), key, show)


def _authority(context: Context, subject: str, bundle: str, key: str, show: str) -> Iterator[Finding]:
    if not bundle and context.simulated:
        yield unknown(subject, SIMULATED)
        return
    try:
        ends = x509.load_pem_x509_certificates(base64.b64decode(bundle))[0].not_valid_after_utc
    except (ValueError, binascii.Error, IndexError):
        yield critical(subject, "has no CA by which to trust it", "its CA's certificate", config=key, next_=show)
        return
    if ends < context.now:
        seen = f"its CA expired on {ends:%Y-%m-%d}"
        yield critical(subject, seen, "a CA that is valid", config=key, next_=show)


@check("ingresses", "Ingress objects have a class, an address and pods behind them", "applications")
def ingresses(context: Context) -> Iterator[Finding]:
    """By the Ingress objects, Services and EndpointSlices."""
    found = {name_of(item): item for item in context.items("/apis/networking.k8s.io/v1/ingresses")}
    classes = {item["metadata"]["name"] for item in context.items("/apis/networking.k8s.io/v1/ingressclasses")}
    for each in context.settings.published:
        if f"{each.namespace}/{each.name}" not in found:
            yield critical(
                f"Ingress {each.namespace}/{each.name}",
                "does not exist",
                f"{each.host} on class {each.ingress_class}",
                config=f"applications.{each.name}",
                next_=context.up,
                after=[f"IngressClass {each.ingress_class}"],
            )
    for name, ingress in found.items():
        yield from _class(context, name, ingress, classes)
        problems = [*_address(context, name, ingress), *_backends(context, name, ingress)]
        if problems and context.simulated:
            yield unknown(f"Ingress {name}", SIMULATED)
        else:
            yield from problems


def _key(context: Context, ingress: Mapping[str, Any]) -> str:
    name = ingress["metadata"]["name"]
    return f"applications.{name}" if name in context.settings.applications.entries else "applications"


def _class(context: Context, name: str, ingress: Mapping[str, Any], classes: set[str]) -> Iterator[Finding]:
    wanted = ingress["spec"].get("ingressClassName", "")
    if wanted not in classes:
        yield warning(
            f"Ingress {name}",
            f"has class {wanted}, which does not exist" if wanted else "names no class",
            f"one of {', '.join(sorted(classes))}",
            config=_key(context, ingress),
            next_=context.kubectl("get ingressclass"),
            after=[f"IngressClass {wanted}"],
        )


def _address(context: Context, name: str, ingress: Mapping[str, Any]) -> Iterator[Finding]:
    if ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return
    wanted, namespace = ingress["spec"].get("ingressClassName", ""), ingress["metadata"]["namespace"]
    operator = f"Deployment {context.settings.tailscale.namespace}/operator"
    server = operator if wanted == TAILSCALE_CLASS else f"Deployment {controller_of(context, wanted)}"
    yield warning(
        f"Ingress {name}",
        "has no address: its controller has not taken it",
        f"the address of class {wanted}",
        config=_key(context, ingress),
        next_=context.kubectl(f"-n {namespace} describe ingress {ingress['metadata']['name']}"),
        after=[server, f"Service {controller_of(context, wanted)}", f"IngressClass {wanted}"],
    )


def _backends(context: Context, name: str, ingress: Mapping[str, Any]) -> Iterator[Finding]:
    namespace = ingress["metadata"]["namespace"]
    services = {
        f"{namespace}/{path['backend']['service']['name']}"
        for rule in ingress["spec"].get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
        if "service" in path["backend"]
    }
    for service in sorted(services):
        if not ready_endpoints(context, service):
            yield warning(
                f"endpoints of {service}",
                f"no ready pod stands behind the Service of Ingress {name}",
                "one at least",
                config=_key(context, ingress),
                next_=context.kubectl(f"-n {namespace} get service,pods -o wide"),
                after=[f"node {node}" for node in sorted(context.not_ready_nodes)],
            )
