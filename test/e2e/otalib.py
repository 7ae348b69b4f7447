"""What the tests drive otad with: a private broker, a private otad, REST, MQTT devices.

Everything listens on loopback, on ports that the kernel gave; everything lies in a folder that
the test run removes. Waiting is always for a condition, never for a time.
"""
import contextlib
import http.client
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse

import paho.mqtt.client as paho

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OTAD = os.environ.get("OTAD", str(ROOT / "build/otad"))
PLUGIN = os.environ.get("OTAD_PLUGIN", str(ROOT / "build/otad_mosquitto.so"))
PRELOAD = ROOT / "build/preload"
MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
ADMIN = "e2e-admin-token-0123456789abcdefghij"
PATIENCE = 60.0


def wait(condition, what, seconds=PATIENCE, step=0.02):
    """Wait until condition() is true; return its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(step)


_given = set()


def free_port():
    """A port that nobody has now, and that no earlier call gave out."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def listening(port):
    with socket.socket() as s:
        s.settimeout(2)
        return s.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A child whose output goes to a file."""

    def __init__(self, command, log, env=None, nofile=None):
        def limits():
            if nofile:
                import resource

                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                want = max(soft, min(nofile, hard))
                resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))

        self.log = log
        with open(log, "ab") as out:
            self.p = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(env or {})}, preexec_fn=limits,
            )  # fmt: skip

    @property
    def pid(self):
        return self.p.pid

    def alive(self):
        return self.p.poll() is None

    def send(self, signo):
        self.p.send_signal(signo)

    def wait(self, seconds=PATIENCE):
        return self.p.wait(seconds)

    def end(self, signo=signal.SIGTERM):
        if self.alive():
            self.p.send_signal(signo)
        try:
            return self.p.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
            raise


class Broker:
    """A stock mosquitto (queue settings untouched); logins are those that otad writes. With the
    plugin: logins come by the plugin, and nobody signals the broker. Persistent: sessions are on
    the disk with every change."""

    def __init__(self, folder, plugin=False, service_password="broker-password-of-otad",
                 persistent=False):
        self.dir = pathlib.Path(folder)
        self.auth = self.dir / "auth"
        self.auth.mkdir(parents=True)
        self.port = free_port()
        self.pid_file = self.dir / "mosquitto.pid"
        self.log = self.dir / "mosquitto.log"
        (self.auth / "passwd").touch(mode=0o600)
        (self.auth / "acl").touch(mode=0o600)
        (self.dir / "service").write_text(service_password + "\n")
        self.told = "" if plugin else str(self.pid_file)
        self.conf = self.dir / "mosquitto.conf"
        self.conf.write_text(
            f"listener {self.port} 127.0.0.1\n"
            "allow_anonymous false\n"
            + (
                f"plugin {PLUGIN}\n"
                f"plugin_opt_credentials_file {self.auth}/passwd\n"
                f"plugin_opt_service_password_file {self.dir}/service\n"
                if plugin
                else f"password_file {self.auth}/passwd\nacl_file {self.auth}/acl\n"
            )
            + f"pid_file {self.pid_file}\n"
            + (
                f"persistence true\npersistence_location {self.dir}/\n"
                "autosave_on_changes true\nautosave_interval 1\n"
                if persistent
                else ""
            )
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        self.process = None

    def start(self):
        self.process = Process([MOSQUITTO, "-c", str(self.conf)], self.log, nofile=65536)
        wait(lambda: listening(self.port) or not self.process.alive(), "the broker listens")
        assert self.process.alive(), self.log.read_text()
        return self

    def stop(self, signo=signal.SIGTERM):
        if self.process:
            self.process.end(signo)
            self.process = None

    def restart(self):
        self.stop()
        self.start()


class Answer:
    """An HTTP answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


def request(port, method, path, body=None, headers=None, timeout=PATIENCE):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Otad:
    """A private otad."""

    def __init__(self, folder, broker, conf=None, env=None, preload=None, admin=ADMIN):
        self.dir = pathlib.Path(folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.broker = broker
        self.port = free_port()
        self.data = self.dir / "data"
        self.log = self.dir / "otad.log"
        self.conf = self.dir / "otad.toml"
        self.password = "broker-password-of-otad"
        self.admin = admin
        self.env = dict(env or {})
        if admin:
            self.env["OTAD_ADMIN_TOKEN"] = admin
        if preload:
            self.env["LD_PRELOAD"] = str(preload)
        sections = {
            "http": {
                "listen": f"127.0.0.1:{self.port}",
                "public_url": f"http://127.0.0.1:{self.port}",
            },
            "mqtt": {
                "url": f"mqtt://127.0.0.1:{broker.port}",
                "username": "otad",
                "password": self.password,
                "auth_dir": str(broker.auth),
                "broker_pid_file": broker.told,
            },
        }
        for name, value in (conf or {}).items():
            section, _, key = name.partition(".")
            sections.setdefault(section, {})[key] = value
        text = f"data_dir = {json.dumps(str(self.data))}\n"
        for section, keys in sections.items():
            text += f"[{section}]\n"
            text += "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())
        self.conf.write_text(text)
        self.conf.chmod(0o600)
        self.process = None

    def start(self, ready=True, **env):
        self.process = Process(
            [OTAD, "-c", str(self.conf)], self.log, {**self.env, **env}, nofile=8192
        )
        self.wait_for("/readyz" if ready else "/healthz")
        return self

    def wait_for(self, path):
        def there():
            if not self.process.alive():
                raise AssertionError(f"otad ended:\n{self.logs()[-4000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return request(self.port, "GET", path).status == 200
            return False

        wait(there, f"otad answers {path}; its log:\n{self.logs()[-2000:]}")

    def logs(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self, signo=signal.SIGTERM):
        if self.process:
            code = self.process.end(signo)
            self.process = None
            return code
        return None

    def kill(self):
        self.stop(signal.SIGKILL)

    # ---- REST ----
    def rest(self, method, path, body=None, token=True, headers=None, timeout=PATIENCE):
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {self.admin if token is True else token}"
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        return request(self.port, method, "/api/v1" + path, body, headers, timeout)

    def ok(self, method, path, body=None, **more):
        answer = self.rest(method, path, body, **more)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer}"
        return answer.json() if answer.body else None

    def metric(self, name, **labels):
        """The value of one series, or the sum over those that the labels match."""
        text = request(self.port, "GET", "/metrics").body.decode()
        total, found = 0.0, False
        for line in text.splitlines():
            m = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
            if not m or m.group(1) != name:
                continue
            have = dict(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', m.group(2) or ""))
            if all(have.get(k) == v for k, v in labels.items()):
                total, found = total + float(m.group(3)), True
        assert found, f"no metric {name} {labels}"
        return total

    def upload(self, device_type, version, *files, token=True, headers=None, **meta):
        """POST /firmwares; files are (name, bytes)."""
        meta = {"name": f"{device_type} {version}", "device_type": device_type,
                "version": version, **meta}  # fmt: skip
        body, kind = multipart(meta, files)
        return self.rest("POST", "/firmwares", body, token, {"Content-Type": kind, **(headers or {})})

    def firmware(self, device_type, version, *files, **meta):
        answer = self.upload(device_type, version, *(files or [("fw.bin", noise(version))]), **meta)
        assert answer.status == 201, answer
        return answer.json()

    def device_type(self, key, **fields):
        return self.ok("POST", "/device-types", {"key": key, "name": key, **fields})

    def device(self, key, device_type, **fields):
        fields.setdefault("password", f"secret-of-{key}")
        return self.ok("POST", "/devices", {"key": key, "device_type": device_type, **fields})

    def updates(self, device):
        return self.ok("GET", f"/updates?device={urllib.parse.quote(device)}")["items"]

    def wait_state(self, device, state, seconds=PATIENCE):
        """Wait until the device's newest update is in that state; return it with history."""

        def there():
            items = self.updates(device)
            if items and items[0]["state"] == state:
                return self.ok("GET", f"/updates/{items[0]['id']}")
            return None

        try:
            return wait(there, f"{device} is {state}", seconds)
        except AssertionError as e:
            raise AssertionError(f"{e}; it has {self.updates(device)}") from None


def multipart(meta, files, boundary="e2e-boundary-7d1c"):
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="meta"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(meta)}\r\n".encode()
    ]
    for name, data in files:
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n".encode()
            + data
            + b"\r\n"
        )
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def noise(seed, size=20000):
    """Bytes that depend on the seed alone."""
    import random

    return random.Random(seed).randbytes(size)


def raw(port, data, timeout=PATIENCE, shut=False):
    """Send bytes on a socket of its own, return everything until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(data)
        if shut:
            s.shutdown(socket.SHUT_WR)
        got = b""
        while piece := s.recv(65536):
            got += piece
        return got


def at_headers(port, method, path, **headers):
    """The status of what is answered before any of the announced body is sent."""
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n{lines}\r\n".encode())
        return int(s.recv(4096).split()[1])


def split(answer):
    """Bytes of an HTTP answer -> status line, {lower-case header: value}, body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict((k.strip().lower(), v.strip()) for k, v in (x.split(":", 1) for x in lines[1:]))
    return lines[0], headers, body


class Device:
    """An MQTT device of the EZtCloud protocol (QoS 1 unless told)."""

    def __init__(self, broker, key, password=None, qos=1):
        self.key, self.qos = key, qos
        self.inbox = queue.Queue()
        self.up = False
        self.subscribed = False
        self.sessions = 0
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2
            self.client = paho.Client(paho.CallbackAPIVersion.VERSION1, client_id=f"e2e-{key}")
        else:
            self.client = paho.Client(client_id=f"e2e-{key}")
        self.client.username_pw_set(key, password or f"secret-of-{key}")
        self.client.max_inflight_messages_set(1000)
        self.client.max_queued_messages_set(0)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.refusal = None
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async("127.0.0.1", broker.port)
        self.client.loop_start()

    def _on_connect(self, client, _data, _flags, rc):
        self.refusal = rc
        if rc == 0:
            client.subscribe([(f"{t}/{self.key}", self.qos) for t in (
                "command_send", "attributes_get_response", "attributes_response",
                "event_response", "attributes_push")])  # fmt: skip
            self.up = True

    def _on_subscribe(self, *_):
        self.sessions += 1
        self.subscribed = True

    def _on_disconnect(self, *_):
        self.up = self.subscribed = False

    def _on_message(self, _client, _data, m):
        self.inbox.put((m.topic.split("/")[0], json.loads(m.payload), len(m.payload)))

    def connected(self):
        wait(lambda: self.up and self.subscribed, f"{self.key} connects ({self.refusal})")
        return self

    def reconnected(self, sessions):
        """Wait for a session after the given number of them (read it before the broker goes)."""
        wait(lambda: self.sessions > sessions and self.subscribed, f"{self.key} connects again")
        return self

    def publish(self, topic, payload, retain=False, wait_ack=True):
        """To <topic>/<key>; payload a str, bytes or something for JSON."""
        if not isinstance(payload, (str, bytes)):
            payload = json.dumps(payload)
        info = self.client.publish(f"{topic}/{self.key}", payload, self.qos, retain)
        if wait_ack and self.qos:
            wait(info.is_published, f"{self.key}'s publish is acknowledged")
        return info

    def report(self, **attributes):
        self.publish("attributes", attributes)

    def receive(self, topic="command_send", seconds=PATIENCE):
        """The next message on that topic; others are dropped."""
        end = time.monotonic() + seconds
        while True:
            try:
                got, body, self.size = self.inbox.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.key}: nothing came on {topic}") from None
            if got == topic:
                return body

    def check(self, event="otaCheck", params=None):
        """Ask; return the answering command."""
        self.publish("event_report", {"method": event, "params": params or {}})
        return self.receive()

    def offer(self, **kw):
        answer = self.check(**kw)
        assert answer["params"]["upgrade"] is True, answer
        return answer

    def nothing(self, **kw):
        answer = self.check(**kw)
        assert answer["params"]["upgrade"] is False, answer
        return answer

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def path_of(url):
    return urllib.parse.urlsplit(url).path


def fetch(port, url, method="GET", **headers):
    """Download with headers given as range_='…' (underscores become dashes)."""
    names = {k.rstrip("_").replace("_", "-"): v for k, v in headers.items()}
    return request(port, method, path_of(url), headers=names)


def rss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
