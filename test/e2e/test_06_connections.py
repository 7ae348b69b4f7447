"""Many descriptors and many sockets waking together."""
import resource
import select
import signal
import socket

import pytest

from otalib import PATIENCE, descriptors, wait


@pytest.fixture(autouse=True, scope="module")
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def test_broker_restart_with_1200_open_connections(make_site):
    """mosquitto_loop() gives up for good above descriptor 1,023."""
    site = make_site()
    otad = site.otad
    kind = site.type()
    otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    device.offer()
    sockets = [connect(otad.port) for _ in range(1200)]
    try:
        wait(lambda: descriptors(otad.process.pid) > 1150, "otad holds them all")
        sessions = device.sessions
        site.broker.stop()
        wait(lambda: otad.metric("otad_mqtt_connected") == 0, "otad notices")
        assert otad.rest("GET", "/device-types").status == 200
        site.broker.start()
        wait(lambda: otad.metric("otad_mqtt_connected") == 1, "MQTT comes back")
        assert descriptors(otad.process.pid) > 1100, "the connections were open all the while"
        device.reconnected(sessions)
        assert device.offer()["params"]["version"] == "2.0"
        # and they still work
        for s in sockets[::100]:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for s in sockets:
            s.close()
    wait(lambda: descriptors(otad.process.pid) < 200, "they are closed again")


@pytest.mark.parametrize("n", [127, 128, 256, 300])
def test_sockets_waking_together(make_site, n):
    """MHD's internal epoll thread hangs on exactly 128 ready sockets; one thread, to be strict."""
    site = make_site({"http.threads": 1})
    port = site.otad.port
    sockets = [connect(port) for _ in range(n)]
    try:
        for s in sockets:  # each is known to otad before the moment
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for s in sockets:
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            site.otad.process.send(signal.SIGSTOP)
            try:
                for s in sockets:
                    s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            finally:
                site.otad.process.send(signal.SIGCONT)
            waiting = set(sockets)
            while waiting:
                ready = poll(waiting)
                assert ready, f"{len(waiting)} of {n} got no answer"
                for s in ready:
                    assert s.recv(4096).startswith(b"HTTP/1.1 200")
                    waiting.discard(s)
    finally:
        for s in sockets:
            s.close()


def poll(sockets):
    p = select.poll()
    by_fd = {s.fileno(): s for s in sockets}
    for fd in by_fd:
        p.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in p.poll(PATIENCE * 1000)]


def test_connection_limit_is_kept(make_site):
    site = make_site({"http.max_connections": 64, "http.threads": 1})
    sockets = [connect(site.otad.port) for _ in range(100)]
    try:
        wait(lambda: descriptors(site.otad.process.pid) < 64 + 60, "no more than allowed")
    finally:
        for s in sockets:
            s.close()
    wait(lambda: site.otad.metric("otad_http_connections") <= 2, "they are gone")
    assert site.otad.rest("GET", "/device-types").status == 200
