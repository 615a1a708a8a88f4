"""What doctor says where Cilium leaves Services to kube-proxy."""

import pytest

from tests.components.test_talos_patches import WITHOUT_REPLACEMENT
from tests.support.configs import settings_with
from tests.support.doctor import PODS, context, pod, said

pytestmark = pytest.mark.unit


def test_a_kube_proxy_that_nobody_started() -> None:
    """With Talos' patch of another time, say: no Service would answer."""
    settings = settings_with(WITHOUT_REPLACEMENT)
    found = said(context({PODS: []}, settings=settings), "kube-proxy")
    assert list(found) == ["kube-proxy"]
    assert "nobody serves them" in found["kube-proxy"]
    proxies = [pod("kube-system/kube-proxy-x", {"k8s-app": "kube-proxy"})]
    assert said(context({PODS: proxies}, settings=settings), "kube-proxy") == {}
