"""Endpoint strings: Twisted's grammar, and what is said about those that are none."""

import pytest
from peneus import endpoints
from peneus.endpoints import SSL, TCP, FileDescriptor, Unix
from peneus.errors import SettingError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:port=8000:interface=127.0.0.1", TCP("127.0.0.1", 8000)),
        ("tcp:8000", TCP("", 8000)),
        ("tcp:8000:interface=localhost", TCP("localhost", 8000)),
        ("tcp:8000:10.0.0.1", TCP("10.0.0.1", 8000)),
        ("tcp:interface=127.0.0.1:port=0", TCP("127.0.0.1", 0)),
        ("tcp:8000:backlog=50", TCP("", 8000)),
        (r"tcp:port=8000:interface=\:\:1", TCP("::1", 8000)),
        (r"tcp6:port=8000", TCP("::", 8000)),
        ("unix:/run/a.sock", Unix("/run/a.sock", 0o666)),
        ("unix:/run/a.sock:mode=660", Unix("/run/a.sock", 0o660)),
        ("unix:address=/run/a.sock:mode=0600", Unix("/run/a.sock", 0o600)),
        (r"unix:/run/a\:b\=c\\d", Unix("/run/a:b=c\\d", 0o666)),
        ("fd:fileno=3", FileDescriptor(3)),
        ("fd:3", FileDescriptor(3)),
        ("ssl:443:privateKey=key.pem:certKey=crt.pem", SSL(TCP("", 443), "crt.pem", "key.pem")),
        ("ssl:443:key.pem:crt.pem", SSL(TCP("", 443), "crt.pem", "key.pem")),
        ("ssl:443:privateKey=both.pem", SSL(TCP("", 443), "both.pem", "both.pem")),
        ("ssl:port=443:certKey=both.pem:interface=127.0.0.1", SSL(TCP("127.0.0.1", 443), "both.pem")),
        ("ssl:443", SSL(TCP("", 443))),
        (
            "ssl:443:k:c:SSLv23_METHOD:10.0.0.1:50:chain.pem:dh.pem",
            SSL(TCP("10.0.0.1", 443), "c", "k", "chain.pem", "dh.pem"),
        ),
        ("ssl:address=/run/a.sock:mode=660", SSL(Unix("/run/a.sock", 0o660))),
        (r"ssl:fileno=3:privateKey=/a\:b", SSL(FileDescriptor(3), "/a:b", "/a:b")),
    ],
)
def test_parse(text, expected):
    assert endpoints.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssl:", "has no port"),
        ("ssl:443:sslmethod=TLSv1_METHOD", "has the sslmethod 'TLSv1_METHOD', which Peneus has not"),
        ("ssl:443:caCertsDir=/etc/ssl", "has caCertsDir, which is for clients"),
        ("ssl:443:nonsense=1", "has an argument 'nonsense', which ssl has not"),
        ("ssl:443:address=/a", "has port and address"),
        ("ssl:443:extraCertChain=chain.pem", "has an extraCertChain, and no certificate before it"),
        ("8000", "'8000' is not known"),
        ("", "is not known"),
        ("http:80", "'http' is not known"),
        ("tcp:", "has no port"),
        ("tcp:interface=127.0.0.1", "has no port"),
        ("tcp:eighty", "has the port 'eighty'"),
        ("tcp:65536", "has the port '65536'"),
        ("tcp:port=-1", "has the port '-1'"),
        ("tcp:8000:host=a", "has an argument 'host', which tcp has not"),
        ("tcp:8000:a:1:b", "too many arguments"),
        ("unix:", "has no path"),
        ("unix:/a:mode=999", "has the mode '999'"),
        ("fd:", "has no fileno"),
        ("fd:fileno=x", "has the fileno 'x'"),
    ],
)
def test_what_is_wrong(text, said):
    with pytest.raises(SettingError) as error:
        endpoints.parse(text, "--endpoint")
    message = str(error.value)
    assert message.startswith(f"--endpoint: {text!r} ")
    assert said in message
    assert "; write " in message


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1", "localhost"])
def test_describe_and_parse_agree(host):
    (string,) = endpoints.describe(host=host, port=1)
    assert endpoints.parse(string) == TCP(host, 1)


def test_describe_paths_and_descriptors():
    path = r"/run/a:b=c\d"
    unix, fd = endpoints.describe(unix_socket=path, file_descriptor=7)
    assert endpoints.parse(unix) == Unix(path)
    assert endpoints.parse(fd) == FileDescriptor(7)


def test_describe_is_what_daphne_says():
    assert endpoints.describe("[::1]", 80, "/a", 3) == [r"tcp:port=80:interface=\:\:1", "unix:/a", "fd:fileno=3"]


@pytest.mark.parametrize(
    "text",
    [
        "tcp:8000",
        "ssl:443",
        r"ssl:443:privateKey=/a\:b:certKey=c\=d",
        "ssl:443:k:c:SSLv23_METHOD::50:chain.pem:dh.pem",
    ],
)
def test_a_worker_serves_the_same_on_a_descriptor(text):
    endpoint = endpoints.parse(text)
    again = endpoints.parse(f"{endpoints.without_place(endpoint)}:fileno=7")
    if isinstance(endpoint, SSL):
        assert again == SSL(FileDescriptor(7), endpoint.certificate, endpoint.key, endpoint.chain, endpoint.dh_parameters)
    else:
        assert again == FileDescriptor(7)
