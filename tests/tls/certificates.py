"""Certificates of an authority that was made up a moment ago, and clients that trust it."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import trustme
from harness.process import DEADLINE
from harness.server import Server
from harness.wire import Address, Wire


class Authority:
    """Signs certificates, and writes them where a server can read them."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self.certfile = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.certfile))

    def issue(
        self, name: str, *names: str, subject: str | None = None, until: datetime | None = None
    ) -> Path:
        """Writes NAME.pem with key and chain, and NAME.crt and NAME.key with one of them each."""
        made = self._ca.issue_cert(*names, common_name=subject, not_after=until)
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        key = made.private_key_pem.bytes()
        for suffix, content in ((".crt", chain), (".key", key), (".pem", key + chain)):
            # As certbot does it: whoever reads sees the old file or the new one.
            beside = self._directory / f"{name}{suffix}.new"
            beside.write_bytes(content)
            beside.rename(self._directory / f"{name}{suffix}")
        return self._directory / f"{name}.pem"

    def context(self, identity: Path | None = None) -> ssl.SSLContext:
        """A client's, which trusts this authority alone, and may show a certificate."""
        context = ssl.create_default_context(cafile=str(self.certfile))
        if identity is not None:
            context.load_cert_chain(str(identity))
        return context


class TlsWire(Wire):
    """One connection that speaks TLS."""

    def __init__(
        self,
        server: Server | Address,
        context: ssl.SSLContext,
        name: str = "localhost",
        session: ssl.SSLSession | None = None,
        receive_buffer: int | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        address = server.address if isinstance(server, Server) else server
        assert address is not None
        super().__init__(address, deadline, receive_buffer=receive_buffer)
        try:
            self.tls = context.wrap_socket(
                self.socket, server_hostname=name, session=session, suppress_ragged_eofs=False
            )
        except BaseException:
            self.socket.close()
            raise
        self.socket = self.tls

    def subject_names(self) -> set[str]:
        """The DNS names of the certificate that the server has shown."""
        certificate = self.tls.getpeercert()
        assert certificate is not None
        return {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}
