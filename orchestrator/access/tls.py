"""TLS for every listener. Certificates are read again when their files change: new connections
get the new ones, those that are open stay as they are."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. client_ca: who must have signed a client's certificate, or None for no mTLS."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> _Stamp:
        """Changes when one of the files does."""
        stats = [path.stat() for path in (self.cert, self.key, self.client_ca) if path]
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)


class Certificates:
    """The certificates as the files are now. Raises OSError, which ssl.SSLError is, at the
    start; later a broken file is logged, and the last good state used."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()  # gRPC asks from threads of its own
        self._stamp = files.stamp()
        self._context = _context(files)
        self._configuration = _configuration(files)

    def grpc_credentials(self) -> grpc.ServerCredentials:
        required = self._files.client_ca is not None
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, self._fresh_configuration, require_client_authentication=required
        )

    def http_context(self) -> ssl.SSLContext:
        """For asyncio's and uvicorn's servers."""

        def use_fresh(connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
            self._refresh()
            connection.context = self._context

        context = _context(self._files)
        context.sni_callback = use_fresh
        return context

    def _fresh_configuration(self) -> grpc.ServerCertificateConfiguration:
        self._refresh()
        return self._configuration

    def _refresh(self) -> None:
        with self._lock:
            try:
                stamp = self._files.stamp()
                if stamp == self._stamp:
                    return
                self._stamp = stamp  # a broken file is tried, and told, once
                context = _context(self._files)
                self._configuration, self._context = _configuration(self._files), context
                log.info("TLS certificates were read again")
            except OSError as error:
                log.error("cannot use the changed TLS files, keeping the last ones: %s", error)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Fails where certificate and key are no pair."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert, files.key)
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.key.read_bytes(), files.cert.read_bytes())],
        root_certificates=files.client_ca.read_bytes() if files.client_ca else None,
    )
