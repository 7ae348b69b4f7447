"""What a benchmark stands on: private programs on free loopback ports, and what they cost.

A Lab owns one temporary folder and every process that it started; closing it ends them, by
process id. Nothing here knows a target.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOKEN = "bench-admin-token-0123456789abcdef"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, check, limit=60.0, every=0.02):
    end = time.monotonic() + limit
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {limit:.0f} s")
        time.sleep(every)


def steady(what, read, times=10, every=0.05):
    """Wait until read() gave the same so many times in a row; that value."""
    seen = []

    def same():
        seen.append(read())
        return len(seen) >= times and len(set(seen[-times:])) == 1

    wait_for(f"{what} to stay as it is", same, every=every)
    return seen[-1]


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Process:
    """A started program: its cost so far, and its end."""

    def __init__(self, args, log, env=None, stdout=None):
        self.log = log
        self.popen = subprocess.Popen(
            args, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
            env={**os.environ, **(env or {})})
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def cpu(self):
        """Seconds of CPU of the process and the children that it still has."""
        total = 0
        pids = [self.pid]
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as f:
                pids += [int(p) for p in f.read().split()]
        return total / TICK

    def rss_mib(self, what="VmRSS:"):
        """What it has in memory; with VmHWM: the most that it ever had."""
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith(what):
                    return int(line.split()[1]) / 1024
        return 0.0

    def stop(self, limit=30):
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(limit)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Lab:
    def __init__(self, bin_dir):
        self.bin = bin_dir
        # Not /tmp when that is memory: the disk is part of what is measured.
        self.dir = tempfile.mkdtemp(prefix="otad-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp"))
        self.processes = []
        self.mqtt_port = free_port()

    def close_processes(self):
        for p in reversed(self.processes):
            p.stop()

    def close(self):
        self.close_processes()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def start(self, name, args, env=None):
        with open(self.path(name + ".log"), "ab") as log:
            p = Process(args, log, env)
        p.log_path = self.path(name + ".log")
        self.processes.append(p)
        return p

    def log_tail(self, p):
        with open(p.log_path, errors="replace") as f:
            return "".join(f.readlines()[-5:])

    # ---- programs ----
    def broker(self, access="allow_anonymous true\n", name="mosquitto", persistent=False):
        """A mosquitto on mqtt_port; access: who may log in. Persistent: as Debian's is."""
        conf = self.path(name + ".conf")
        with open(conf, "w") as f:
            f.write(f"listener {self.mqtt_port} 127.0.0.1\n{access}"
                    + (f"persistence true\npersistence_location {self.dir}/\n" if persistent
                       else "persistence false\n")
                    + "set_tcp_nodelay true\nlog_type error\n"
                    "max_queued_messages 100000\n"
                    + ("user root\n" if os.geteuid() == 0 else ""))
        exe = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        p = self.start(name, [exe, "-c", conf])
        wait_for("mosquitto", lambda: can_connect(self.mqtt_port) or not p.alive())
        if not p.alive():
            raise RuntimeError("mosquitto ended: " + self.log_tail(p))
        return p

    def plugin_access(self, credentials, service_password):
        """`access` of a broker with the plugin."""
        with open(self.path("service-password"), "w") as f:
            f.write(service_password + "\n")
        return (f"allow_anonymous false\nplugin {self.bin}/otad_mosquitto.so\n"
                f"plugin_opt_credentials_file {credentials}\n"
                f"plugin_opt_service_password_file {self.path('service-password')}\n")

    def nginx(self, root):
        port = free_port()
        conf = self.path("nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""
daemon off; worker_processes 1; pid {self.path("nginx.pid")}; error_log stderr error;
user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;
  client_body_temp_path {self.path("ng1")}; proxy_temp_path {self.path("ng2")};
  fastcgi_temp_path {self.path("ng3")}; uwsgi_temp_path {self.path("ng4")};
  scgi_temp_path {self.path("ng5")};
  default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port}; root {root};
    location /d/ {{ try_files /f.bin =404; }}
  }}
}}
""")
        p = self.start("nginx", ["/usr/sbin/nginx", "-c", conf, "-p", self.dir])
        wait_for("nginx", lambda: can_connect(port))
        return p, port

    def echo(self, size, username=None, password=None):
        login = ["--username", username, "--password", password] if username else []
        p = self.start("echo", [f"{self.bin}/otasim", "echo", "--broker", self.broker_address(),
                                "--client-id", "echo", "--size", str(int(size)), *login])
        wait_for("otasim echo", lambda: "connected" in self.log_tail(p) and p.alive())
        return p

    def bare_echo(self, size):
        """libmosquitto alone in otad's place; like the offers of `echo`, its answers have `size`
        bytes."""
        answer = self.path("answer.json")
        head = ('{"method":"otaUpgrade","params":{"module":"main","upgrade":true,'
                '"version":"1.0.1","url":"http://h/')
        tail = '"},"id":98310}'
        with open(answer, "w") as f:
            f.write(head + "x" * (int(size) - len(head) - len(tail)) + tail)
        p = self.start("bare-echo", [f"{self.bin}/bench/echo", str(self.mqtt_port), answer])
        wait_for("the bare echo", lambda: "connected" in self.log_tail(p) and p.alive())
        return p

    def broker_address(self):
        return f"127.0.0.1:{self.mqtt_port}"

    def forget_session(self, client_id):
        """What the broker kept for a stopped client must not reach the next one."""
        subprocess.run(["mosquitto_sub", "-p", str(self.mqtt_port), "-h", "127.0.0.1", "-V", "5",
                        "-i", client_id, "-t", "nothing/at/all", "-E"],
                       check=True, stdout=subprocess.DEVNULL, timeout=30)

    def sim(self, command, **options):
        """One run of an otasim command that ends with a line of JSON."""
        args = [f"{self.bin}/otasim", command, "--broker", self.broker_address()]
        for option, value in options.items():
            args += ["--" + option.replace("_", "-"), str(value)]
        done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"otasim {command} ended with {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])

    def fleet(self, **options):
        return FleetRun(self, options).result()

    def fleet_start(self, **options):
        return FleetRun(self, options)


class FleetRun:
    """One run of otasim fleet."""

    def __init__(self, lab, options):
        args = [f"{lab.bin}/otasim", "fleet", "--broker", lab.broker_address()]
        for name, value in options.items():
            name = "--" + name.replace("_", "-")
            if value is True:
                args.append(name)
            elif value is not None:
                args += [name, str(value)]
        self.popen = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def result(self):
        out, _ = self.popen.communicate(timeout=600)
        if self.popen.returncode != 0:
            raise RuntimeError(f"otasim fleet ended with {self.popen.returncode}")
        r = json.loads(out)
        if r["count"] == 0:
            raise RuntimeError(f"no check was answered: {r}")
        return r


class Otad:
    """One otad with its own data folder; started and stopped any number of times."""

    def __init__(self, lab, name, http_threads=1, preload=None, mqtt=None):
        self.lab, self.name = lab, name
        self.port = free_port()
        self.data = lab.path(name)
        self.client_id = "otad-" + name
        self.preload = preload or {}
        self.process = None
        self.conf = lab.path(name + ".toml")
        with open(self.conf, "w") as f:
            f.write(f'data_dir = "{self.data}"\n'
                    f'[http]\nlisten = "127.0.0.1:{self.port}"\n'
                    f'public_url = "http://127.0.0.1:{self.port}"\nthreads = {http_threads}\n'
                    f'[mqtt]\nurl = "mqtt://127.0.0.1:{lab.mqtt_port}"\nusername = "otad"\n'
                    f'client_id = "{self.client_id}"\n'
                    + "".join(f"{k} = {json.dumps(v)}\n" for k, v in (mqtt or {}).items())
                    + '[log]\nlevel = "warn"\n')

    def start(self):
        """Seconds from exec until it is ready for devices."""
        os.makedirs(self.data, exist_ok=True)
        env = {"OTAD_ADMIN_TOKEN": TOKEN, **self.preload}
        began = time.monotonic()
        self.process = self.lab.start(self.name, [f"{self.lab.bin}/otad", "-c", self.conf], env)

        def ready():
            if not self.process.alive():
                raise RuntimeError("otad ended: " + self.lab.log_tail(self.process))
            try:
                return self.request("GET", "/readyz")[0] == 200
            except OSError:
                return False

        wait_for("otad", ready, every=0.002)
        return time.monotonic() - began

    def stop(self):
        self.process.stop()
        self.lab.forget_session(self.client_id)

    @contextlib.contextmanager
    def running(self):
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def drop_file_cache(self):
        """So that the next start reads the disk."""
        os.sync()
        for folder, _, files in os.walk(self.data):
            for name in files:
                with contextlib.suppress(OSError):
                    fd = os.open(os.path.join(folder, name), os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)

    # ---- REST ----
    def request(self, method, path, body=None, content_type="application/json", limit=600):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit)
        try:
            headers = {"Authorization": "Bearer " + TOKEN}
            if body is not None:
                headers["Content-Type"] = content_type
            c.request(method, path, body, headers)
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def post(self, path, obj):
        status, body = self.request("POST", "/api/v1" + path, json.dumps(obj))
        if status not in (200, 201):
            raise RuntimeError(f"POST {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def metric(self, name):
        """The sum of a metric's series."""
        lines = self.request("GET", "/metrics")[1].decode().splitlines()
        return sum(float(x.rsplit(" ", 1)[1]) for x in lines if re.split(r"[{ ]", x)[0] == name)

    def add_type(self, key):
        self.post("/device-types", {"key": key, "name": key})

    def add_firmware(self, type_key, version, data, connection=None, **more):
        edge = "otad-bench-boundary"
        meta = json.dumps({"name": f"{type_key} {version}", "device_type": type_key,
                           "version": version, **more})
        body = (f'--{edge}\r\nContent-Disposition: form-data; name="meta"\r\n'
                f"Content-Type: application/json\r\n\r\n{meta}\r\n--{edge}\r\n"
                f'Content-Disposition: form-data; name="file"; filename="f.bin"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n").encode()
        body += data + f"\r\n--{edge}--\r\n".encode()
        c = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("POST", "/api/v1/firmwares", body, {
            "Authorization": "Bearer " + TOKEN,
            "Content-Type": "multipart/form-data; boundary=" + edge})
        r = c.getresponse()
        answer = r.read()
        if r.status != 201:
            raise RuntimeError(f"POST /firmwares {version}: {r.status} {answer[:300]!r}")
        return json.loads(answer)["id"]

    def add_firmwares(self, type_key, count):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for i in range(count):
            self.add_firmware(type_key, f"2.{i // 100}.{i % 100}", b"firmware %d" % i, c)
        c.close()

    def import_devices(self, type_key, count, prefix="bench-", first=1, password=None):
        """Seconds that POST /devices/import took."""
        path = self.lab.path(f"{self.name}-{prefix}{first}.csv")
        with open(path, "wb") as f:
            subprocess.run([f"{self.lab.bin}/otasim", "import-rows", str(count), "--type", type_key,
                            "--prefix", prefix, "--first", str(first),
                            *(["--password", password] if password else [])],
                           stdout=f, check=True)
        began = time.monotonic()
        # curl, not Python: the sender must cost little, and its bytes must not wait for a lock.
        out = subprocess.run(
            ["curl", "-sS", "-o", "-", "-w", "\n%{http_code}", "-H", "Authorization: Bearer " + TOKEN,
             "-H", "Content-Type: text/csv", "-H", "Expect:", "-T", path, "-X", "POST",
             f"http://127.0.0.1:{self.port}/api/v1/devices/import"],
            check=True, capture_output=True, timeout=900).stdout
        took = time.monotonic() - began
        os.unlink(path)
        body, _, status = out.rpartition(b"\n")
        if status not in (b"200", b"201"):
            raise RuntimeError(f"import of {count}: {status} {body[:300]!r}")
        return took
