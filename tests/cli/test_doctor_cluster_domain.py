"""Doctor asks the cluster's DNS for a Service in the cluster's own domain, whatever its name."""

import pytest

from tests.support.doctor import Answers, context, said, shipped_settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("domain", ["cluster.local", "k8s.internal"])
def test_service_is_asked_for_in_the_clusters_own_domain(domain: str) -> None:
    settings = shipped_settings({"discovery": {"coredns": {"clusterDomain": domain}}})
    name = f"kubernetes.default.svc.{domain}"
    wrong = Answers(names={("10.96.0.10", name): ("10.43.0.1",)})
    assert said(context({}, wrong, settings), "cluster-dns")["cluster DNS"] == f"{name} is 10.43.0.1"
