"""Live events, webhooks and the audit log, over a real broker and a receiver on loopback."""
import base64
import hashlib
import hmac
import http.server
import json
import queue
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from conftest import Site
from otalib import ADMIN, OTAD, PATIENCE, PRELOAD, wait
from watch import Stream


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"), {"webhooks.allow_private": 1})
    yield site
    site.close()


class Receiver:
    """A webhook's other end: keeps what came; `answers` are given in turn, then 200."""

    def __init__(self, cert=None):
        receiver = self
        self.came, self.answers = queue.Queue(), queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.put((dict(self.headers), body, self.path))
                status, headers = (200, {}) if receiver.answers.empty() else receiver.answers.get()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        if cert:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(cert, cert.with_suffix(".key"))
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        return self.came.get(timeout=PATIENCE)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


def signature(secret, headers, body):
    """As any receiver checks it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def test_an_update_is_watched_and_resumed(site):
    kind = site.type()
    watch = Stream(site.otad, "?types=update.*,firmware.created")
    site.otad.firmware(kind, "2.0.0", ("app.bin", b"x" * 1000))
    device = site.device(kind, "1.0.0")
    device.check()
    got = watch.until("update.offered")
    assert [e["event"] for e in got] == ["firmware.created", "update.offered"]
    data = json.loads(got[-1]["data"])
    assert data["type"] == "update.offered" and data["data"]["device"] == device.key
    assert data["data"]["from_version"] == "1.0.0" and data["data"]["to_version"] == "2.0.0"
    device.report(version="2.0.0")
    last = watch.until("update.verified")[-1]
    watch.close()
    # what happened while nobody watched, once, through a crash
    site.otad.kill()
    site.otad.start()
    other = site.type()
    site.otad.firmware(other, "1.0.0")
    watch = Stream(site.otad, "?types=update.*,firmware.created", last=last["id"])
    assert [e["event"] for e in watch.until("firmware.created")] == ["firmware.created"]
    watch.close()


def test_idle_streams_hold_up_nobody(site):
    streams = []
    for _ in range(300):
        s = socket.create_connection(("127.0.0.1", site.otad.port))
        s.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode())
        streams.append(s)
    wait(lambda: site.otad.metric("otad_event_subscribers") >= 300, "all watch")
    begin = time.monotonic()
    site.type()
    assert time.monotonic() - begin < 10
    for s in streams:
        s.settimeout(PATIENCE)
        text = b""
        while b"retry" not in text:
            text += s.recv(4096)
        s.close()


def test_messages_are_signed_and_tried_again(site, receiver):
    made = site.otad.ok("POST", "/webhooks", {"url": receiver.url, "types": ["device.created"]})
    path, secret = f"/webhooks/{made['id']}", made["secret"]
    assert "secret" not in site.otad.ok("GET", path)
    receiver.answers.put((500, {}))
    kind = site.type()
    key = site.name("hooked")
    site.otad.device(key, kind)
    headers, body, _ = receiver.next()
    assert headers["webhook-signature"] == signature(secret, headers, body)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 120
    message = json.loads(body)
    assert message["type"] == "device.created" and message["data"]["device"] == key
    again, body2, _ = receiver.next()
    assert body2 == body and again["webhook-id"] == headers["webhook-id"]
    assert again["webhook-signature"] == signature(secret, again, body)

    def delivered():
        item = site.otad.ok("GET", path + "/deliveries")["items"][0]
        return item if item["state"] == "delivered" else None

    item = wait(delivered, "it is delivered")
    assert item["attempts"] == 2 and item["status"] == 200
    # a new secret: both sign for a day
    new = site.otad.ok("POST", path + "/rotate")["secret"]
    assert site.otad.rest("POST", path + "/test").status == 202
    headers, body, _ = receiver.next()
    assert json.loads(body)["type"] == "webhook.test"
    assert headers["webhook-signature"].split() == [signature(s, headers, body) for s in (new, secret)]
    site.otad.ok("DELETE", path)


def test_what_is_pending_outlives_a_crash(site, receiver):
    receiver.answers.put((302, {"Location": receiver.url + "/elsewhere"}))
    made = site.otad.ok("POST", "/webhooks", {"url": receiver.url, "types": ["firmware.*"]})
    path = f"/webhooks/{made['id']}"
    site.otad.firmware(site.type(), "1.0.0")
    first, body, where = receiver.next()
    wait(lambda: site.otad.ok("GET", path + "/deliveries")["items"][0]["attempts"] == 1, "it is noted")
    item = site.otad.ok("GET", path + "/deliveries")["items"][0]
    assert item["state"] == "pending" and item["status"] == 302
    site.otad.stop(signal.SIGKILL)
    site.otad.start()
    again, body2, where2 = receiver.next()
    assert where == where2 == "/hook", "no redirect is followed"
    assert (again["webhook-id"], body2) == (first["webhook-id"], body)
    site.otad.ok("DELETE", path)


def test_private_addresses_take_a_word_of_the_configuration(make_site, receiver):
    site = make_site()
    port = receiver.server.server_port
    assert site.otad.rest("POST", "/webhooks", {"url": receiver.url}).status == 422
    made = site.otad.ok("POST", "/webhooks", {"url": f"https://localhost:{port}/"})
    path = f"/webhooks/{made['id']}"
    site.otad.ok("POST", path + "/test")

    def tried():
        item = site.otad.ok("GET", path + "/deliveries")["items"][0]
        return item if item["attempts"] else None

    assert "private" in wait(tried, "it was tried")["error"]
    assert receiver.came.empty()


def certificate(path, name="localhost"):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", str(path), "-keyout", str(path.with_suffix(".key"))],
        check=True, capture_output=True)  # fmt: skip
    return path


def test_certificates_are_checked_and_nobody_waits_for_the_silent(make_site, tmp_path):
    known, stranger = certificate(tmp_path / "a.pem"), certificate(tmp_path / "b.pem")
    site = make_site({"webhooks.allow_private": 1, "webhooks.ca": str(known),
                      "webhooks.timeout_s": 1, "http.max_connections": 16})  # fmt: skip
    good, bad = Receiver(known), Receiver(stranger)
    silent = socket.create_server(("127.0.0.1", 0))

    def hook(url):
        path = f"/webhooks/{site.otad.ok('POST', '/webhooks', {'url': url})['id']}"
        for _ in range(10):
            site.otad.ok("POST", path + "/test")
        return path

    def error(path):
        items = site.otad.ok("GET", path + "/deliveries")["items"]
        return next((i["error"] for i in items if i["attempts"]), None)

    quiet = hook(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    refused = hook(bad.url)
    hook(good.url)
    for _ in range(10):
        good.next()
    assert "certificate" in wait(lambda: error(refused), "it was tried")
    assert bad.came.empty()
    assert "time" in wait(lambda: error(quiet), "it gave up").lower()
    # streams leave room for others
    streams = []
    for _ in range(8):
        s = socket.create_connection(("127.0.0.1", site.otad.port))
        s.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode())
        streams.append(s)
    wait(lambda: site.otad.metric("otad_event_subscribers") == 8, "eight watch")
    assert site.otad.rest("GET", "/events").status == 503
    for s in streams:
        s.close()
    for one in (good, bad, silent):
        one.close()


def test_without_libcurl(make_site):
    """Its package is a recommendation: what needs it says so, and all else works."""
    site = make_site({"webhooks.allow_private": 1})
    hook = {"url": "http://127.0.0.1:9/"}
    path = f"/webhooks/{site.otad.ok('POST', '/webhooks', hook)['id']}"
    site.otad.stop()
    site.otad.env["LD_PRELOAD"] = str(PRELOAD / "nocurl.so")
    site.otad.start()
    refused = site.otad.rest("POST", "/webhooks", hook)
    assert refused.status == 422 and "Webhooks need libcurl (libcurl4)" in refused.body.decode(), refused
    site.otad.ok("POST", path + "/test")

    def error():
        item = site.otad.ok("GET", path + "/deliveries")["items"][0]
        return item["attempts"] and item["error"]

    assert "Webhooks need libcurl (libcurl4)" in wait(error, "it was tried")
    site.type()


def test_the_audit_log_proves_itself(make_site):
    site = make_site()
    kind = site.type()
    site.otad.device(site.name("au"), kind)

    def verify(*more):
        return subprocess.run([OTAD, "-c", str(site.otad.conf), "audit-verify", *more],
                              capture_output=True, text=True, check=False)  # fmt: skip

    done = verify()
    assert done.returncode == 0 and "2 rows, unbroken" in done.stdout, done
    head = done.stdout.split()[-1]
    lines = site.otad.rest("GET", "/audit/export").body.decode().splitlines()
    previous = "0" * 64
    for line in lines:
        row = json.loads(line)
        bare = line.removesuffix(f',"hash":"{row["hash"]}"}}') + "}"
        assert hashlib.sha256(bare.encode()).hexdigest() == row["hash"]
        assert row["previous"] == previous
        previous = row["hash"]
    assert previous == head and verify(head).returncode == 0
    assert verify("0" * 63 + "1").returncode == 1
    site.otad.stop()
    import sqlite3

    db = sqlite3.connect(site.otad.data / "otad.db")
    db.executescript("DROP TRIGGER audit_fixed; UPDATE audit SET who = 'nobody' WHERE id = 1")
    db.close()
    done = verify()
    assert done.returncode == 1 and "row 1" in done.stderr, done
