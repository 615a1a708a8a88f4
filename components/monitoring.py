"""What the layers need to know to be scraped by a Prometheus operator."""

from pydantic import Field

from components.fields import Model


class Monitoring(Model):
    """Scrape targets and dashboards for a Prometheus operator; metrics endpoints themselves are always on."""

    enabled: bool = Field(
        default=True,
        description="create ServiceMonitors and dashboards; false where the Prometheus operator's CRDs are absent",
    )
    labels: dict[str, str] = Field(
        default={"release": "kube-prometheus-stack"},
        description="labels by which Prometheus selects ServiceMonitors",
        examples=[{"release": "kube-prometheus-stack"}],
    )
