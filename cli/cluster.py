"""Read access to the cluster that a stack's Kubernetes provider talks to, by the official client."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, Self

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from cli.manifests import Capabilities
from cli.program import PROJECT, Program

TIMEOUT_SECONDS = 10

CONNECTIONS = 40
"""What is kept open at most: checks that run side by side ask at the same time."""


class ClusterError(Exception):
    """The cluster can't be reached, or refuses what was asked."""


class Cluster:
    """One cluster, asked with GET only."""

    def __init__(self, api: client.ApiClient, context: str) -> None:
        self._api = api
        self.context = context
        self._discovered: dict[str, dict[str, tuple[str, bool]]] = {}

    @classmethod
    def of(cls, program: Program) -> Self:
        """The cluster of the stack's settings: its kubeconfig and context, never the current context.

        Raises ClusterError when the kubeconfig has no such context.
        """
        kubernetes = program.settings.kubernetes
        own = str(PROJECT / kubernetes.kubeconfig) if kubernetes.kubeconfig else None
        file = own or program.environment.get("KUBECONFIG")
        # Before the client is made, which reads them once.
        settings = client.Configuration()
        settings.connection_pool_maxsize = CONNECTIONS
        settings.retries = urllib3.Retry(total=1, backoff_factor=0.2)
        try:
            api = config.new_client_from_config(  # type: ignore[no-untyped-call]
                file, kubernetes.context, client_configuration=settings
            )
        except ConfigException as error:
            raise ClusterError(f"context {kubernetes.context}: {error}") from None
        # A kubeconfig that asks for no verification has its user's consent; once a request would be too often.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return cls(api, kubernetes.context)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON at an API path such as `/api/v1/nodes`. Raises ClusterError, with `not found` for 404."""
        request = self._api.param_serialize(
            "GET",
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
            body: bytes = response.read()  # type: ignore[no-untyped-call]
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(f"{self.context} can't be reached: {error}") from None
        if response.status != HTTPStatus.OK:
            reason = "not found" if response.status == HTTPStatus.NOT_FOUND else f"{response.status} {response.reason}"
            raise ClusterError(f"{path}: {reason}")
        found: dict[str, Any] = json.loads(body)
        return found

    def find(self, path: str, **query: Any) -> dict[str, Any] | None:
        """The object at an API path, or None when it or its kind does not exist."""
        try:
            return self.get(path, **query)
        except ClusterError as error:
            if "not found" in str(error):
                return None
            raise

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """The objects of a list, page by page; empty when the kind does not exist."""
        return list(self._pages(path, query))

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        more = ""
        while True:
            page = self.find(path, limit=500, **query, **({"continue": more} if more else {}))
            yield from (page or {}).get("items") or []
            more = (page or {}).get("metadata", {}).get("continue", "")
            if not more:
                return

    def object(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """The object of that kind and name, or None when it or its kind does not exist."""
        found = self._kinds(api_version).get(kind)
        if found is None:
            return None
        plural, namespaced = found
        place = f"namespaces/{namespace or 'default'}/" if namespaced else ""
        return self.find(f"{_root(api_version)}/{place}{plural}/{name}")

    def _kinds(self, api_version: str) -> dict[str, tuple[str, bool]]:
        """Plural name of each kind of an API version, and whether it has namespaces."""
        if api_version not in self._discovered:
            found = (self.find(_root(api_version)) or {}).get("resources") or []
            self._discovered[api_version] = {
                entry["kind"]: (entry["name"], entry["namespaced"]) for entry in found if "/" not in entry["name"]
            }
        return self._discovered[api_version]

    @cached_property
    def capabilities(self) -> Capabilities:
        """The cluster's version and API versions, for rendering charts as Helm would there."""
        version = self.get("/version")["gitVersion"].removeprefix("v")
        groups = self.get("/apis")["groups"]
        versions = sorted(entry["groupVersion"] for group in groups for entry in group["versions"])
        return Capabilities(version, tuple(versions))


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
