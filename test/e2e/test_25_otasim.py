"""otasim against a real mosquitto, a stand-in for otad and an HTTP server that misbehaves."""

import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OTASIM = os.environ.get("OTASIM", os.path.join(ROOT, "build/otasim"))
PATIENCE = 60
IMAGE = bytes(i * 7919 % 251 for i in range(300_001))


def wait(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain: " + what
        time.sleep(0.02)


def listening(port):
    with socket.socket() as s:
        s.settimeout(2)
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broker")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    exe = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([exe, "-c", str(conf)], stdout=log, stderr=log)
    wait(lambda: listening(port), "mosquitto")
    yield port
    process.terminate()
    process.wait(PATIENCE)


class Server:
    """Serves IMAGE. cut: bytes after which each connection is broken. no_range: always 200."""

    def __init__(self):
        self.cut, self.no_range, self.status, self.body = None, False, None, IMAGE
        self.ranges = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.answer(self)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def answer(self, h):
        wanted = h.headers.get("Range")
        self.ranges.append(wanted)
        if self.status:
            h.send_response(self.status)
            h.send_header("Content-Length", "0")
            h.end_headers()
            return
        start = 0
        if wanted and not self.no_range:
            assert h.headers["If-Range"] == '"image"'
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            h.send_response(206)
            h.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        else:
            h.send_response(200)
        h.send_header("ETag", '"image"')
        h.send_header("Content-Length", str(len(self.body) - start))
        h.end_headers()
        data = self.body[start:]
        if self.cut and len(data) > self.cut:
            h.wfile.write(data[:self.cut])
            h.close_connection = True
        else:
            h.wfile.write(data)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}/d/token/app.bin"


@pytest.fixture
def server():
    s = Server()
    yield s
    s.http.shutdown()
    s.http.server_close()


class Cloud:
    """Stands in for otad: remembers what devices say, answers checks with `answer`."""

    def __init__(self, port):
        self.heard, self.answer = [], None
        self.client = paho.Client("cloud")
        self.client.on_message = self.on_message
        self.subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe([(t, 1) for t in ("attributes/+", "event_report/+",
                                                "command_reply/+")])
        assert self.subscribed.wait(PATIENCE)

    def on_message(self, client, userdata, m):
        kind, key = m.topic.split("/")
        self.heard.append((kind, key, json.loads(m.payload)))
        if kind == "event_report" and self.answer is not None:
            client.publish(f"command_send/{key}", json.dumps(self.answer), qos=1)

    def of(self, kind, key):
        """All that the device said so far: a message of our own comes after all of those."""
        marker = ["marker", len(self.heard), time.monotonic()]
        self.client.publish("attributes/marker", json.dumps(marker), qos=1)
        wait(lambda: any(what == marker for _, _, what in list(self.heard)), "the marker")
        return [what for k, who, what in self.heard if (k, who) == (kind, key)]


@pytest.fixture
def cloud(broker):
    c = Cloud(broker)
    yield c
    c.client.disconnect()
    c.client.loop_stop()


def offer(server, version="2.0.0", **change):
    params = {"module": "main", "upgrade": True, "version": version, "url": server.url,
              "size": len(IMAGE), "md5": hashlib.md5(IMAGE).hexdigest(),
              "sha256": hashlib.sha256(IMAGE).hexdigest(), **change}
    return {"method": "otaUpgrade", "params": params, "command_name": "OTA升级", "id": 98310}


def device(broker, key, *more):
    return subprocess.run([OTASIM, "device", "--broker", f"127.0.0.1:{broker}", "--username", key,
                           "--once", "--reboot", "0", *more], capture_output=True, text=True,
                          timeout=2 * PATIENCE)


def test_upgrade(broker, cloud, server, tmp_path):
    cloud.answer = offer(server)
    saved, state = tmp_path / "image", tmp_path / "version"
    r = device(broker, "up-1", "--save", str(saved), "--state-file", str(state), "--reply")
    assert r.returncode == 0, r.stdout + r.stderr
    assert saved.read_bytes() == IMAGE
    assert state.read_text() == "2.0.0\n"
    assert cloud.of("attributes", "up-1") == [{"version": "1.0.0"}, {"version": "2.0.0"}]
    assert cloud.of("event_report", "up-1") == [{"method": "otaCheck", "params": {}}]
    assert cloud.of("command_reply", "up-1")[0]["id"] == 98310
    assert "device  up-1  reports version 1.0.0\n" in r.stdout
    cloud.answer = offer(server, "3.0.0")
    assert device(broker, "up-1", "--state-file", str(state)).returncode == 0
    assert cloud.of("attributes", "up-1")[2:] == [{"version": "2.0.0"}, {"version": "3.0.0"}]


def test_names_of_its_own(broker, cloud, server):
    cloud.answer = offer(server, module="mcu")
    r = device(broker, "own-1", "--attribute", "mcu_version", "--event", "look", "--module", "mcu",
               "--version", "7")
    assert r.returncode == 0, r.stdout
    assert cloud.of("attributes", "own-1") == [{"mcu_version": "7"}, {"mcu_version": "2.0.0"}]
    assert cloud.of("event_report", "own-1") == [{"method": "look", "params": {}}]


def test_nothing_to_do(broker, cloud):
    cloud.answer = {"method": "otaUpgrade", "params": {"module": "main", "upgrade": False}, "id": 0}
    r = device(broker, "none-1")
    assert r.returncode == 1
    assert "up to date" in r.stdout


def test_goes_on_after_cuts(broker, cloud, server):
    server.cut = 100_000
    cloud.answer = offer(server)
    r = device(broker, "cut-1")
    assert r.returncode == 0, r.stdout
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_cuts_on_its_own(broker, cloud, server):
    cloud.answer = offer(server)
    r = device(broker, "cut-2", "--cut-after", "1000")
    assert r.returncode == 0, r.stdout
    assert len(server.ranges) == 2
    assert server.ranges[0] is None and server.ranges[1].startswith("bytes=")


def test_starts_over_without_ranges(broker, cloud, server):
    server.no_range = True
    cloud.answer = offer(server)
    assert device(broker, "cut-3", "--cut-after", "1000").returncode == 0


def test_gives_up_after_its_attempts(broker, cloud, server):
    server.cut = 10
    cloud.answer = offer(server)
    r = device(broker, "cut-4", "--attempts", "2")
    assert r.returncode == 1
    assert len(server.ranges) == 2
    assert len(cloud.of("attributes", "cut-4")) == 1


@pytest.mark.parametrize("change", [{"md5": "0" * 32}, {"sha256": "0" * 64}, {"size": 300_000}])
def test_wrong_image_is_not_installed(broker, cloud, server, change):
    cloud.answer = offer(server, **change)
    key = "bad-" + next(iter(change))
    r = device(broker, key)
    assert r.returncode == 1
    assert "update failed" in r.stdout
    assert cloud.of("attributes", key) == [{"version": "1.0.0"}]


@pytest.mark.parametrize("status", [404, 410, 302])
def test_link_that_does_not_serve(broker, cloud, server, status):
    server.status = status
    cloud.answer = offer(server)
    r = device(broker, f"bad-{status}")
    assert r.returncode == 1
    assert f"the server answered {status}" in r.stdout


@pytest.mark.parametrize("change", [
    {"url": None}, {"url": "https://127.0.0.1/x"}, {"url": "http:///x"}, {"size": "many"},
    {"md5": "short"}, {"upgrade": "yes"}, {"version": 2}, {"files": []}])
def test_broken_offers(broker, cloud, server, change):
    cloud.answer = offer(server, **change)
    r = device(broker, "broken-1")
    assert r.returncode == 1 and "update failed" in r.stdout
    assert not server.ranges


def test_several_files(broker, cloud, server):
    one = {"url": server.url, "size": len(IMAGE), "md5": hashlib.md5(IMAGE).hexdigest()}
    cloud.answer = offer(server, files=[one, one])
    assert device(broker, "files-1").returncode == 0
    assert len(server.ranges) == 2


def test_old_version_again(broker, cloud, server):
    cloud.answer = offer(server)
    assert device(broker, "old-1", "--no-install").returncode == 0
    assert cloud.of("attributes", "old-1") == [{"version": "1.0.0"}, {"version": "1.0.0"}]


@pytest.mark.parametrize("args", [
    [], ["nothing"], ["device"], ["fleet"], ["echo"], ["import-rows"], ["import-rows", "0"],
    ["device", "--broker", "here", "--username", "d"], ["echo", "--broker", "h:1", "--size", "9"],
    ["device", "--broker", "h:99999", "--username", "d"],
    ["device", "--broker", "h:1", "--username", "a/b"],
    ["fleet", "--broker", "h:1", "--mode", "hard"], ["fleet", "--broker", "h:1", "more"],
    ["fleet", "--broker", "h:1", "--devices", "x"], ["import-rows", "5", "--type", "a,b"]])
def test_wrong_usage(args):
    r = subprocess.run([OTASIM, *args], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 2
    assert r.stderr and not r.stdout


@pytest.mark.parametrize("command", ["device", "fleet", "echo", "import-rows"])
def test_help(command):
    r = subprocess.run([OTASIM, command, "--help"], capture_output=True, text=True,
                       timeout=PATIENCE)
    assert r.returncode == 0 and r.stdout.startswith("Usage: otasim " + command)


def test_import_rows():
    r = subprocess.run([OTASIM, "import-rows", "3", "--type", "t", "--prefix", "p-", "--first",
                        "9"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert r.stdout == "key,device_type\np-0000009,t\np-0000010,t\np-0000011,t\n"


@pytest.fixture
def echo(broker):
    p = subprocess.Popen([OTASIM, "echo", "--broker", f"127.0.0.1:{broker}", "--size", "333"],
                         stdout=subprocess.PIPE, text=True)
    assert "connected" in p.stdout.readline()
    yield p
    p.terminate()
    assert p.wait(PATIENCE) == 0


def fleet(broker, *more):
    r = subprocess.run([OTASIM, "fleet", "--broker", f"127.0.0.1:{broker}", "--seconds", "0.5",
                        "--warmup", "0.2", *more], capture_output=True, text=True,
                       timeout=2 * PATIENCE)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


@pytest.mark.parametrize("more", [
    ["--connections", "1", "--spread", "--devices", "5000", "--in-flight", "100"],
    ["--connections", "3", "--devices", "60", "--first", "10", "--rate", "300"]])
def test_fleet_gets_all_answers(broker, echo, more):
    r = fleet(broker, "--devices", "20", "--window", "3", *more)
    assert r["count"] > 0 and r["offers"] == r["count"] and r["answer_bytes"] == 333
    assert r["lost"] == 0 and r["errors"] == 0
    assert r["p50_ms"] <= r["p99_ms"] <= r["max_ms"] * 1.02


def test_fleet_writes_other_versions_in_turn(broker, cloud):
    cloud.answer = {"method": "otaUpgrade", "params": {"module": "main", "upgrade": False}, "id": 0}
    r = fleet(broker, "--devices", "10", "--window", "1", "--mode", "mixed", "--prefix", "mix-",
              "--versions", "5.0,5.1", "--rate", "100")
    assert r["plain"]["count"] > 0 and r["write"]["count"] > 0
    assert r["plain"]["count"] + r["write"]["count"] == r["count"] and r["offers"] == 0
    said = {}
    for kind, key, what in list(cloud.heard):
        assert kind == "event_report" and what["method"] == "otaCheck"
        said.setdefault(key, []).append(what["params"].get("version"))
    writers = [v for v in said.values() if v[0]]
    assert len(writers) == 5 and len(said) == 10
    for v in writers:
        assert v == (["5.0", "5.1"] * len(v))[:len(v)]


def test_fleet_counts_what_is_lost(broker):
    r = fleet(broker, "--devices", "4", "--window", "2", "--prefix", "lost-", "--timeout", "0.5")
    assert r["count"] == 0 and r["lost"] >= 8


def test_fleet_without_a_broker():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    r = subprocess.run([OTASIM, "fleet", "--broker", f"127.0.0.1:{port}", "--devices", "2",
                        "--connect-timeout", "1"], capture_output=True, text=True,
                       timeout=2 * PATIENCE)
    assert r.returncode == 1
    assert "only 0 of 2 connections" in r.stderr
