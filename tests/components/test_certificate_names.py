"""Names in certificates: the API server and cert-manager's webhook take them, however long the domain."""

import pytest

from components.certificates import CertificatesArgs, certificate_spec, default_certificates, root_spec
from tests.support.configs import merged, settings_with, stack_config

pytestmark = pytest.mark.unit

LABEL = "a" * 40
DOMAINS = {"short": "example.com", "52 letters": f"{LABEL}.{'b' * 11}", "long": f"{LABEL}.{LABEL}.example.com"}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_common_names_have_at_most_64_letters(domain: str) -> None:
    """cert-manager's webhook refuses a longer one in the middle of an update (RFC 5280, ub-common-name)."""
    settings = settings_with(merged(stack_config(), {"cluster": {"domain": domain}}), stack_config())
    arguments = CertificatesArgs.of(settings)
    wanted = default_certificates(settings.ingress)
    assert settings.certificates.internal_ca
    specs = [
        *(certificate_spec(arguments, each) for each in wanted),
        root_spec(settings.certificates.internal_ca, domain),
    ]
    assert len(specs) == 3
    assert all(len(spec.get("commonName", "")) <= 64 for spec in specs)
    assert all(spec["dnsNames"] == [domain, f"*.{domain}"] for spec in specs[:-1])
    assert specs[-1]["commonName"].endswith("example.com internal CA" if "example" in domain else " internal CA")


def test_common_name_is_the_domain_where_it_fits() -> None:
    settings = settings_with({}, stack_config())
    specs = [certificate_spec(CertificatesArgs.of(settings), each) for each in default_certificates(settings.ingress)]
    assert [spec["commonName"] for spec in specs] == ["example.com", "example.com"]
