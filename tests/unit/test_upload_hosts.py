import pytest

from starter.local.parts import PartFailed
from starter.local.sandbox.egress import parse_upload_hosts
from starter.local.upload_hosts import upload_host


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://s3.example.com", ("s3.example.com", 443)),
        ("https://s3.example.com/", ("s3.example.com", 443)),
        ("http://s3.example.com/a/path?b=c", ("s3.example.com", 80)),
        ("https://me:p@ss@S3.Example.com:8443/", ("s3.example.com", 8443)),
        ("http://minio:9000", ("minio", 9000)),
        ("http://127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("https://[2606:4700::1]", ("2606:4700::1", 443)),
        ("http://[::1]:9000/", ("::1", 9000)),
        ("http://[::1]", ("::1", 80)),
    ],
)
def test_the_sandbox_server_is_told_host_and_port(endpoint: str, expected: tuple[str, int]):
    """However a person writes the endpoint, the server reads one host and one port of it."""
    assert parse_upload_hosts(upload_host(endpoint)) == {expected}


def test_the_vendors_own_store_needs_no_word():
    """It is public."""
    assert "" == upload_host("")


@pytest.mark.parametrize(
    "endpoint", ["s3.example.com", "ftp://h", "http://h:port", "http://[", "https://a,b", "https://"]
)
def test_an_endpoint_that_cannot_be_understood_is_refused(endpoint: str):
    """By the setting that the person gave, with the form that is meant."""
    with pytest.raises(PartFailed, match=r"AWS_ENDPOINT_URL_S3(?s:.)*https://HOST"):
        upload_host(endpoint)


@pytest.mark.parametrize("endpoint", ["http://localhost", "https://127.0.0.1/"])
def test_a_port_that_no_sandbox_can_listen_on_is_refused(endpoint: str):
    """Else each sandbox would fail to start."""
    with pytest.raises(PartFailed, match="from 1024 on"):
        upload_host(endpoint)
