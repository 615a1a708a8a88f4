"""Questions to the network from where doctor runs: connections, name servers, TLS and HTTP. Nothing is sent but GET."""

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import httpx
from cryptography import x509

TIMEOUT_SECONDS = 3


class ProbeError(Exception):
    """No answer. `refused` tells a closed port of a host that is there from silence."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, with the seconds it took; header names are in lower case, the text is never printed."""

    status: int
    headers: Mapping[str, str]
    seconds: float
    text: str = ""


def _unverified() -> ssl.SSLContext:
    """What is served is looked at, not trusted: nothing is sent that would need it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Prober:
    """Asks; every question takes `timeout` seconds at most."""

    timeout: float = TIMEOUT_SECONDS
    _tls: ssl.SSLContext = field(default_factory=_unverified, repr=False, compare=False)

    def connect(self, address: str, port: int) -> None:
        """Open and close a TCP connection. Raises ProbeError."""
        with self._connected(address, port):
            pass

    def resolve(self, name: str, server: str, *, tcp: bool = False, port: int = 53) -> tuple[str, ...]:
        """The IPv4 addresses that a name server gives; none for a name that it does not know. Raises ProbeError."""
        query = dns.message.make_query(name, dns.rdatatype.A)
        ask = dns.query.tcp if tcp else dns.query.udp
        try:
            answer = ask(query, server, timeout=self.timeout, port=port)
        except (dns.exception.DNSException, OSError) as error:
            said = str(error) or type(error).__name__
            raise ProbeError(
                f"{server} port {port}: {said}", refused=isinstance(error, ConnectionRefusedError)
            ) from None
        if answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            raise ProbeError(f"{server} answers {dns.rcode.to_text(answer.rcode())}", refused=True)
        return tuple(
            sorted(item.to_text() for entry in answer.answer if entry.rdtype == dns.rdatatype.A for item in entry)
        )

    def certificate(self, address: str, host: str, port: int = 443) -> x509.Certificate:
        """The certificate that is served for a host, whoever signed it. Raises ProbeError."""
        try:
            with self._connected(address, port) as plain, self._tls.wrap_socket(plain, server_hostname=host) as wrapped:
                served = wrapped.getpeercert(binary_form=True)
        except OSError as error:
            raise ProbeError(f"{address} port {port}: {error}", refused=True) from None
        assert served, "a TLS server has a certificate"
        return x509.load_der_x509_certificate(served)

    def get(self, address: str, path: str, host: str = "", *, port: int = 443, tls: bool = True) -> Answer:
        """The answer to a GET at an address for a host, redirects not followed. Raises ProbeError."""
        url = f"{'https' if tls else 'http'}://{address}:{port}{path}"
        headers, extensions = ({"Host": host}, {"sni_hostname": host}) if host else ({}, {})
        began = time.monotonic()
        try:
            with httpx.Client(verify=self._tls, timeout=self.timeout, trust_env=False) as client:
                response = client.get(url, headers=headers, extensions=extensions)
        except httpx.HTTPError as error:
            refused = "refused" in str(error)
            raise ProbeError(f"{url}: {error or type(error).__name__}", refused=refused) from None
        return Answer(response.status_code, dict(response.headers), time.monotonic() - began, response.text)

    def _connected(self, address: str, port: int) -> socket.socket:
        try:
            return socket.create_connection((address, port), timeout=self.timeout)
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            raise ProbeError(f"{address} port {port}: {error}", refused=refused) from None
