"""Where the API server of a Kubernetes cluster is, and how a pod proves to it who it is."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.discovery.source import SourceError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder where a pod finds the token and the certificates that its service account is given."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An API server, and the folder of a service account; without one, it is asked as nobody."""

    url: str
    account: Path | None = None

    @classmethod
    def around(cls) -> Cluster:
        """Find the cluster that this process runs in. Raises ``SourceError``."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise SourceError("this is no pod of a Kubernetes cluster: KUBERNETES_SERVICE_HOST is not set")
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", SERVICE_ACCOUNT)

    def headers(self) -> Mapping[str, str]:
        """Give what a request needs besides. The token is read anew, as it is replaced while a pod lives.

        Raises ``SourceError``.
        """
        if self.account is None:
            return {}
        file = self.account / "token"
        try:
            return {"authorization": f"Bearer {file.read_text(encoding='ascii').strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{file} cannot be read: {error}") from None

    def tls(self) -> ssl.SSLContext:
        """Trust who the cluster trusts, and nobody else. Raises ``SourceError``."""
        if self.account is None:
            return ssl.create_default_context()
        file = self.account / "ca.crt"
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error}") from None
