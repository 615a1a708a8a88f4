"""Which versions of the Helm charts are used, and where they come from."""

from dataclasses import dataclass

from pydantic import Field

from settings.fields import DnsLabel, Model, Seconds

RELEASE_TIMEOUT_SECONDS = 600


class Charts(Model):
    """Versions and source of the Helm charts."""

    versions: dict[DnsLabel, str] = Field(
        default={},
        description="chart versions by chart name, where another than the default is wanted; charts.lock must have it",
        examples=[{"cilium": "1.19.6"}],
    )
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="folder with `<name>-<version>.tgz` files, for clusters without internet access; "
        "the environment variable CHARTS_DIR does the same",
        examples=["./charts"],
    )
    lock: str | None = Field(
        default=None,
        min_length=1,
        description="file with each chart's version and SHA-256, in the form of charts.lock; when unset, the "
        "charts.lock in the folder of archives, and where there is none, the project's own",
        examples=["./own-charts.lock"],
    )
    timeout_seconds: Seconds = Field(
        default=RELEASE_TIMEOUT_SECONDS,
        description="how long a release may wait for its pods and jobs until it counts as failed and is rolled back",
        examples=[RELEASE_TIMEOUT_SECONDS],
    )


@dataclass(frozen=True)
class Chart:
    """A chart that is at hand and proved: `path` is relative to the project.

    `timeout_seconds` bounds the wait for the workloads and hooks of a release of it.
    """

    name: str
    version: str
    path: str
    timeout_seconds: int = RELEASE_TIMEOUT_SECONDS


CHART_VERSIONS = {
    "cilium": "1.19.6",
    "ingress-nginx": "4.15.1",
    "cert-manager": "v1.21.1",
    "tailscale-operator": "1.102.4",
    "external-dns": "1.21.1",
    "k8s-gateway": "3.7.2",
}
"""Charts of this program, at the versions whose values were proved by rendering."""
