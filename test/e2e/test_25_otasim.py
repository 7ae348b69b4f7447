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
        self.client = paho.Client(client_id="cloud")
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
        answer = self.answer(key) if callable(self.answer) else self.answer
        if kind == "event_report" and answer is not None:
            client.publish(f"command_send/{key}", json.dumps(answer), qos=1)

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
    [], ["nothing"], ["device"], ["fleet"], ["echo"], ["logins"], ["storm"], ["import-rows"], ["import-rows", "0"],
    ["rehearse"], ["rehearse", "--plan", "--fail", "cut"], ["rehearse", "--plan", "--fail", "die=1"],
    ["rehearse", "--plan", "--fail", "cut=60", "--fail", "silent=41"],
    ["rehearse", "--broker", "h:1", "--interval", "0"], ["rehearse", "--broker", "h:1", "--until", "-"],
    ["rehearse", "--plan", "--prefix", "a/b"], ["rehearse", "--plan", "--first", "9000001"],
    ["device", "--broker", "here", "--username", "d"], ["echo", "--broker", "h:1", "--size", "9"],
    ["device", "--broker", "h:99999", "--username", "d"],
    ["device", "--broker", "h:1", "--username", "a/b"],
    ["fleet", "--broker", "h:1", "--mode", "hard"], ["fleet", "--broker", "h:1", "more"],
    ["fleet", "--broker", "h:1", "--devices", "x"], ["import-rows", "5", "--type", "a,b"]])
def test_wrong_usage(args):
    r = subprocess.run([OTASIM, *args], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 2
    assert r.stderr and not r.stdout


@pytest.mark.parametrize("command", ["device", "fleet", "logins", "storm", "rehearse", "echo",
                                     "import-rows"])
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


def test_logins(broker):
    r = subprocess.run([OTASIM, "logins", "--broker", f"127.0.0.1:{broker}", "--seconds", "0.3",
                        "--password", "x", "--parallel", "5"], capture_output=True, text=True,
                       timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    got = json.loads(r.stdout)
    assert got["logins"] > 5 and got["logins"] == got["count"]
    assert got["refused"] == 0 and got["errors"] == 0


def test_logins_that_are_refused(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (tmp_path / "conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\n")
    exe = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    process = subprocess.Popen([exe, "-c", str(tmp_path / "conf")], stderr=subprocess.DEVNULL)
    try:
        wait(lambda: listening(port), "mosquitto")
        r = subprocess.run([OTASIM, "logins", "--broker", f"127.0.0.1:{port}", "--seconds", "0.2",
                            "--password", "x"], capture_output=True, text=True, timeout=PATIENCE)
        got = json.loads(r.stdout)
        assert r.returncode == 1 and got["logins"] == 0 and got["refused"] > 0
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_storm(tmp_path):
    """All come back after a restart of the broker, which kept what is for otad's stand-in."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (tmp_path / "conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {tmp_path}/\n" + ("user root\n" if os.geteuid() == 0 else ""))
    exe = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")

    def start():
        p = subprocess.Popen([exe, "-c", str(tmp_path / "conf")], stderr=subprocess.DEVNULL)
        wait(lambda: listening(port), "mosquitto")
        return p

    process = start()
    subscribed = threading.Event()
    cloud = paho.Client(client_id="cloud", clean_session=False)
    cloud.on_connect = lambda c, *_: c.subscribe("event_report/+", 1)
    cloud.on_subscribe = lambda *_: subscribed.set()
    cloud.on_message = lambda c, _d, m: c.publish(
        "command_send/" + m.topic.split("/")[1], '{"params":{"upgrade":false}}', 1)
    cloud.connect("127.0.0.1", port)
    cloud.loop_start()
    assert subscribed.wait(PATIENCE)
    storm = subprocess.Popen([OTASIM, "storm", "--broker", f"127.0.0.1:{port}", "--devices", "60"],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert storm.stdout.readline() == "ready\n"
        process.terminate()
        process.wait(PATIENCE)
        process = start()
        got = json.loads(storm.stdout.readline())
        assert storm.wait(PATIENCE) == 0
        assert got["devices"] == got["count"] == 60 and got["lost"] == 0
        assert 0 < got["connected_s"] <= got["answered_s"]
    finally:
        storm.kill()
        storm.wait(PATIENCE)
        cloud.loop_stop()
        process.terminate()
        process.wait(PATIENCE)


KINDS = {"cut": 10, "checksum": 10, "rollback": 10, "silent": 10, "suspect": 10, "slow": 10}


def planned(prefix, n, seed="1"):
    """How each device fails, as --help says."""
    plan = {}
    for i in range(1, n + 1):
        key, edge = f"{prefix}{i:07d}", 0
        at = int(hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()[:8], 16) % 10000
        for kind, percent in KINDS.items():
            edge += percent * 100
            if at < edge:
                plan[key] = kind
                break
    return plan


def rehearse(*more, patience=2 * PATIENCE):
    shares = [x for kind, percent in KINDS.items() for x in ("--fail", f"{kind}={percent}")]
    return subprocess.run([OTASIM, "rehearse", "--devices", "60", *shares, *more],
                          capture_output=True, text=True, timeout=patience)


def test_who_fails_can_be_said_beforehand():
    plans = []
    for seed in ("1", "autumn"):
        r = rehearse("--plan", "--prefix", "plan-", "--seed", seed)
        rows = [line.split(",") for line in r.stdout.splitlines()]
        assert rows[0] == ["key", "kind"]
        plans.append(dict(rows[1:]))
        assert plans[-1] == planned("plan-", 60, seed)
    assert plans[0] != plans[1] and set(plans[0].values()) == set(KINDS)


def test_a_fleet_that_fails(broker, cloud, server, tmp_path):
    """What each kind says and does; a good version heals all but the silent. None asks twice: what
    it says of an offer comes before its next check."""
    versions, failed = {}, set()

    def answer(key):
        for kind, who, what in cloud.heard:
            if kind == "attributes" and "version" in what:
                versions[who] = what["version"]
            elif kind == "command_reply" and what["params"]["ota_result"] != 0:
                failed.add(who)
        back = [w for k, who, w in cloud.heard if (k, who) == ("command_reply", key)]
        if versions.get(key) == "2.0.0" or key in failed or back:
            return {"method": "otaUpgrade", "params": {"module": "main", "upgrade": False}, "id": 0}
        return offer(server)

    cloud.answer = answer
    r = rehearse("--broker", f"127.0.0.1:{broker}", "--prefix", "reh-", "--until", "2.0.0",
                 "--interval", "600", "--reboot", "0.1", "--slow", "1", "--fail-version", "2.0.0",
                 "--report", str(tmp_path / "report"), "--timeout", str(PATIENCE))  # fmt: skip
    assert r.returncode == 0, r.stdout + r.stderr
    said, plan = json.loads(r.stdout.splitlines()[-1]), planned("reh-", 60)
    by_kind = {kind: [k for k in plan if plan[k] == kind] for kind in KINDS}
    old = [k for k in plan if plan[k] in ("cut", "checksum", "rollback", "silent")]
    assert said["versions"] == {"1.0.0": len(old), "2.0.0": 60 - len(old)}
    assert said["failures"] == {kind: len(keys) for kind, keys in by_kind.items()}
    assert said["done"] == 60 and said["broken"] == 0 and said["connected"] == 60 - len(by_kind["silent"])
    assert len(server.ranges) == 60 - len(by_kind["silent"]) - len(by_kind["suspect"])
    rows = dict(line.split(",", 1) for line in (tmp_path / "report").read_text().splitlines()[1:])
    for i in range(1, 61):
        key = f"reh-{i:07d}"
        kind = plan.get(key, "none")
        outcome = "failed" if key in old else "updated"
        assert rows[key] == f"{'1.0.0' if key in old else '2.0.0'},{kind},{outcome}"
        reports = [w["version"] for w in cloud.of("attributes", key)]
        replies = [w["params"] for w in cloud.of("command_reply", key)]
        assert reports[-1] == ("1.0.0" if key in old else "2.0.0")
        result = {"cut": 3, "checksum": 4, "rollback": 0}.get(kind)
        assert replies == ([] if result is None else [{"ota_result": result}]), key
        if kind == "silent":
            assert reports == ["1.0.0"] and len(cloud.of("event_report", key)) == 1
    # another version is not what fails
    cloud.heard.clear()
    versions.clear()
    failed.clear()
    cloud.answer = lambda key: (offer(server, "3.0.0") if not any(
        (k, who) == ("attributes", key) and w["version"] == "3.0.0" for k, who, w in cloud.heard
    ) else {"method": "otaUpgrade", "params": {"module": "main", "upgrade": False}, "id": 0})
    r = rehearse("--broker", f"127.0.0.1:{broker}", "--prefix", "reh-", "--until", "3.0.0",
                 "--interval", "600", "--reboot", "0.1", "--fail-version", "2.0.0")  # fmt: skip
    assert r.returncode == 0, r.stderr
    assert json.loads(r.stdout.splitlines()[-1])["versions"] == {"3.0.0": 60}


def test_a_fleet_that_is_not_done_in_time(broker, cloud):
    r = rehearse("--broker", f"127.0.0.1:{broker}", "--prefix", "slow-", "--until", "2.0.0",
                 "--timeout", "0.5")  # fmt: skip
    assert r.returncode == 1 and "0 of 60 devices are done" in r.stderr
    assert json.loads(r.stdout.splitlines()[-1])["versions"] == {"1.0.0": 60}
