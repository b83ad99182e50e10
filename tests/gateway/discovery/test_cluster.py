"""How a pod finds its cluster, and proves to it who it is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gateway.discovery import cluster as module
from gateway.discovery.cluster import Cluster
from gateway.discovery.source import SourceError


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")]
)
def test_the_environment_of_a_pod_says_where_the_server_is(
    host: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert Cluster.around() == Cluster(url, Path("/var/run/secrets/kubernetes.io/serviceaccount"))


def test_elsewhere_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SourceError, match=r"^this is no pod .*: KUBERNETES_SERVICE_HOST is not set$"):
        Cluster.around()


def test_the_token_is_read_anew_each_time(tmp_path: Path) -> None:
    cluster = Cluster("https://a", tmp_path)
    for token in ("first", "second"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert cluster.headers() == {"authorization": f"Bearer {token}"}


def test_only_the_cluster_itself_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = Cluster("https://a", tmp_path).tls()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("content", [None, b"garbage \xff"])
def test_what_cannot_be_read_is_told_with_its_file(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        for name in ("token", "ca.crt"):
            (tmp_path / name).write_bytes(content)
    cluster = Cluster("https://a", tmp_path)
    with pytest.raises(SourceError, match=rf"^{tmp_path / 'token'} cannot be read: "):
        cluster.headers()
    with pytest.raises(SourceError, match=rf"^{tmp_path / 'ca.crt'} cannot be read: "):
        cluster.tls()


def test_outside_of_a_pod_it_is_asked_as_nobody() -> None:
    cluster = Cluster("http://127.0.0.1:8001")
    assert cluster.headers() == {}
    assert cluster.tls().verify_mode is ssl.CERT_REQUIRED


def test_the_folder_of_the_service_account_is_where_kubernetes_mounts_it() -> None:
    assert Path("/var/run/secrets/kubernetes.io/serviceaccount") == module.SERVICE_ACCOUNT
