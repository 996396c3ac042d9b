"""/metrics: what peneus.stats() says, of all workers together, and never less than before."""

import contextlib
import os
import signal
import threading
import time

import peneus as package
import pytest
from peneus import metrics
from peneus.errors import ListenError, SettingError
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.programs import PATIENCE, connect, get, hello, peneus, until
from tests.integration.test_supervisor import answer, workers

HERE = "tests.integration.test_supervisor"


def serving(*options):
    return peneus("-p", "0", "--metrics", "127.0.0.1:0", "--graceful-timeout", "2", *options, f"{HERE}:application")


def metrics_port(server):
    return int(server.wait_for(r"Metrics are at http://127\.0\.0\.1:(\d+)/metrics")[1])


def scrape(port, *headers):
    """Name and labels of each sample, and its value."""
    head, _, body = get(("127.0.0.1", port), "/metrics", *headers).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    families = text_string_to_metric_families(body.decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_the_names_are_those_of_stats(options):
    with serving(*options) as server:
        server.port()
        port = metrics_port(server)
        found = scrape(port)
        stats = package.stats()
        dropped = stats.pop("messages_dropped_total")
        own = {"peneus_workers", "peneus_workers_stuck", "peneus_worker_restarts_total"}
        assert {name for name, *_ in found} == {f"peneus_{name}" for name in stats} | own | {"peneus_messages_dropped_total"}
        assert {policy for name, *policy in found if name == "peneus_messages_dropped_total" for policy in policy} == set(dropped)
        assert found["peneus_orphaned_channels",] == 0


def test_everything_is_explained():
    stats = package.stats()
    assert set(stats) <= set(metrics.HELP), "what does it count? Write it into metrics.HELP"


def test_counters_and_gauges_have_their_types():
    with serving() as server:
        server.port()
        text = get(("127.0.0.1", metrics_port(server)), "/metrics").decode()
        assert "# TYPE peneus_requests_total counter\n" in text
        assert "# TYPE peneus_connections gauge\n" in text
        assert "content-type: text/plain; version=" in text.lower()


def test_workers_are_summed_and_a_death_takes_nothing_back():
    with serving("--workers", "2") as server:
        port = server.port()
        pids = workers(server)
        where = metrics_port(server)
        seen = [answer(port) for _ in range(10)]
        until(lambda: seen.append(answer(port)) or set(seen) == set(pids), "both workers have answered")
        count = len(seen)
        until(lambda: scrape(where)["peneus_requests_total",] == count, "all requests are counted")
        found = scrape(where)
        assert found["peneus_workers",] == 2
        assert found["peneus_connections_total",] == count
        assert found["peneus_worker_restarts_total",] == 0
        os.kill(seen[-1], signal.SIGKILL)
        server.wait_for("ended with SIGKILL")
        found = scrape(where)
        assert found["peneus_requests_total",] == count
        assert found["peneus_workers",] == 1
        workers(server, 2)
        answer(port)
        until(lambda: scrape(where)["peneus_requests_total",] == count + 1, "it goes on from there")
        assert scrape(where)["peneus_worker_restarts_total",] == 1
        before = workers(server)
        answer(port)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: not set(workers(server)) & set(before), "the workers are replaced")
        assert scrape(where)["peneus_requests_total",] == count + 2, "the last words of the replaced are heard"


def test_what_a_worker_counted_before_it_crashed_is_known_without_a_scrape():
    with serving("--workers", "2") as server:
        port = server.port()
        workers(server)
        pid = answer(port)
        time.sleep(3)  # it is asked now and then
        os.kill(pid, signal.SIGKILL)
        server.wait_for("ended with SIGKILL")
        assert scrape(metrics_port(server))["peneus_requests_total",] == 1


def test_gauges_of_the_dead_are_gone():
    with serving("--workers", "2") as server:
        port = server.port()
        workers(server)
        where = metrics_port(server)
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            pid = int(client.recv(65536).rpartition(b"\r\n")[2])
            assert scrape(where)["peneus_connections",] == 1
            os.kill(pid, signal.SIGKILL)
            until(lambda: scrape(where)["peneus_connections",] == 0, "its connection is gone")


@pytest.mark.parametrize("options", [(), ("--workers", "2", "--worker-timeout", "0.5")])
def test_it_answers_while_the_event_loop_stands_still(options):
    with serving(*options) as server:
        port = server.port()
        where = metrics_port(server)
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET /stuck?8 HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: scrape(where)["peneus_applications",] == 1, "the application runs")
            if options:
                until(lambda: scrape(where)["peneus_workers_stuck",] == 1, "it is noticed")
            client.settimeout(0.01)
            with pytest.raises(TimeoutError):
                client.recv(1)


def test_what_else_may_be_asked():
    with serving() as server:
        server.port()
        port = metrics_port(server)
        assert get(("127.0.0.1", port), "/").startswith(b"HTTP/1.1 404 ")
        assert get(("127.0.0.1", port), "/metrics?name=x").startswith(b"HTTP/1.1 200 ")
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 405 ")
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            response = b"".join(iter(lambda: client.recv(65536), b""))
            assert response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"\r\n\r\n")
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"x" * 100_000)
            client.settimeout(PATIENCE)
            try:
                assert client.recv(65536) == b""
            except ConnectionResetError:
                pass
        openmetrics = get(("127.0.0.1", port), "/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        assert openmetrics.endswith(b"# EOF\n")
        assert scrape(port)


@pytest.mark.parametrize("value", ["9100", "localhost", "localhost:", "localhost:http", "a:65536", "[::1:9100", ":-1", "a:1 b"])
def test_what_is_no_address_is_said(value):
    with pytest.raises(SettingError) as error:
        package.Server(hello, metrics=value)
    assert str(error.value).startswith(f"metrics: {value!r} is not HOST:PORT; write one such as 127.0.0.1:9100")
    with peneus("--metrics", value, f"{HERE}:application") as server:
        assert server.wait() == 2
        assert f"--metrics: {value!r} is not HOST:PORT" in server.output


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_an_address_in_use_is_said(options):
    with serving() as first:
        port = metrics_port(first)
        with peneus("-p", "0", "--metrics", f"127.0.0.1:{port}", *options, f"{HERE}:application") as second:
            assert second.wait() == 1
            assert f"--metrics 127.0.0.1:{port}: cannot listen on 127.0.0.1 port {port}: Address already in use" in second.output
            assert "Traceback" not in second.output


def test_an_embedded_server_has_it_too():
    listeners = metrics.listen("127.0.0.1:0")
    port = listeners[0].getsockname()[1]
    with pytest.raises(ListenError, match=f"--metrics 127.0.0.1:{port}: cannot listen"):
        metrics.listen(f"127.0.0.1:{port}")
    for listener in listeners:
        listener.close()
    ready = threading.Event()
    server = package.Server(hello, port=0, metrics=f"127.0.0.1:{port}", signal_handlers=False, ready_callable=ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        assert scrape(port)["peneus_workers",] == 1
    finally:
        server.stop()
        thread.join(PATIENCE)
    with pytest.raises(ConnectionRefusedError):
        scrape(port)


def test_idle_clients_do_not_lock_it():
    with serving() as server, contextlib.ExitStack() as stack:
        server.port()
        where = metrics_port(server)
        idle = [stack.enter_context(connect(("127.0.0.1", where))) for _ in range(2 * metrics.CLIENTS)]
        for _ in range(5):
            assert scrape(where)["peneus_orphaned_channels",] == 0
        assert len(idle) == 2 * metrics.CLIENTS
