"""Certificates, and TLS in front of servers that have none."""

import shutil
import ssl
import tempfile
from pathlib import Path

import trustme

from support.redis_servers.proxy import Proxy
from support.redis_servers.standalone import Server


class Certificates:
    """An authority of its own, and a certificate for localhost and 127.0.0.1. `with` removes the files.

    Attributes: the paths `authority`, `certificate` and `key`; a client's `client_certificate`, `client_key`.
    """

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="nearcache-certificates-"))
        self._authority = trustme.CA()
        self.authority = self._write("authority.pem", self._authority.cert_pem)
        self.certificate, self.key = self._issue("server", "localhost", "127.0.0.1")
        self.client_certificate, self.client_key = self._issue("client", "client.example")

    def _issue(self, name, *identities):
        issued = self._authority.issue_cert(*identities)
        certificate = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (self.folder / f"{name}.pem").write_bytes(certificate)
        return str(self.folder / f"{name}.pem"), self._write(f"{name}.key", issued.private_key_pem)

    def _write(self, name, blob):
        path = self.folder / name
        blob.write_to_path(str(path))
        return str(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def server_context(self, *, client_certificate_required=False):
        """Return the `SSLContext` of a server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        if client_certificate_required:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self):
        """Return the `SSLContext` of a client that trusts the authority, with a certificate of its own."""
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.client_certificate, self.client_key)
        return context


class TlsServer:
    """A server whose port takes TLS only: its own TLS, or a proxy's where it was built without.

    Attributes: `server`, `certificates`, `address`, `url`, and `proxy`, which is None with its own TLS.
    """

    def __init__(self, flavour, *, client_certificate_required=False, **options):
        """Start it; `options` are those of `Server`."""
        self.certificates = Certificates()
        self.server = self.proxy = None
        try:
            if flavour.has_tls:
                wanted = "yes" if client_certificate_required else "optional"
                self.server = Server(flavour, tls=self.certificates, tls_auth_clients=wanted, **options)
            else:
                context = self.certificates.server_context(
                    client_certificate_required=client_certificate_required
                )
                self.server = Server(flavour, **options)
                self.proxy = Proxy(self.server.socket, ssl=context)
        except BaseException:
            self.close()
            raise
        self.address = (self.proxy or self.server).address

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"rediss://{self.server.login}127.0.0.1:{self.address[1]}/0"

    def close(self):
        for part in (self.proxy, self.server):
            if part is not None:
                part.close()
        shutil.rmtree(self.certificates.folder, ignore_errors=True)
