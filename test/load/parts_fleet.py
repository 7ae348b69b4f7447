"""The parts of the benchmark about many connections: what the broker's plugin costs, a fleet that
comes back at once, and a push to a fleet beside its checks."""

import base64
import contextlib
import hashlib
import json
import os
import resource
import subprocess

from lab import Otad, wait_for

PASSWORD = "bench-password"
SERVICE_PASSWORD = "bench-service-password"


def hashed(password):
    """As otad and mosquitto store it: PBKDF2 with SHA-512."""
    rounds, salt = 101, b"twelve-bytes"
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, 64)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


# ---- g: what the plugin costs ----
def sides(lab, logins):
    """name -> access of a broker: with password file alone, with ACL too, with the plugin."""
    device, service = hashed(PASSWORD), hashed(SERVICE_PASSWORD)
    passwd = lab.path("passwd")
    with open(passwd, "w") as f:
        f.write(f"otad:{service}\n")
        f.writelines(f"bench-{i:07d}:{device}\n" for i in range(1, logins + 1))
    os.chmod(passwd, 0o600)
    with open(lab.path("acl"), "w") as f:
        f.write("user otad\ntopic readwrite #\n")
        for kind in ("attributes", "event_report", "command_reply"):
            f.write(f"pattern write {kind}/%u\n")
        f.write("pattern read command_send/%u\n")
    os.chmod(lab.path("acl"), 0o600)
    plain = f"allow_anonymous false\npassword_file {passwd}\n"
    return {"plain": plain, "acl": plain + f"acl_file {lab.path('acl')}\n",
            "plugin": lab.plugin_access(passwd, SERVICE_PASSWORD)}


def part_g(lab, table, rounds, logins=100_000, seconds=8):
    access = sides(lab, logins)
    rates = {name: {"logins": [], "messages": []} for name in access}
    costs = {name: [] for name in access}
    wrong = 0
    for i in range(rounds):
        # the one that goes first changes
        for name in list(access)[i % 3:] + list(access)[:i % 3]:
            broker = lab.broker(access[name], name)
            r = lab.sim("logins", devices=logins, password=PASSWORD, seconds=seconds)
            wrong += r["refused"] + r["errors"]
            rates[name]["logins"].append(r["rate"])
            echo = lab.echo(300, "otad", SERVICE_PASSWORD)
            before = broker.cpu()
            r = lab.fleet(devices=200, window=8, password=PASSWORD, seconds=seconds, warmup=2)
            wrong += r["lost"] + r["errors"]
            # each check is two messages of devices' and otad's
            rates[name]["messages"].append(2 * r["rate"])
            costs[name].append((broker.cpu() - before) / (2 * r["total_answers"]) * 1e6)
            echo.stop()
            broker.stop()
    for what, least in (("logins", 0.8), ("messages", 0.9)):
        label = {"logins": "connections", "messages": "messages"}[what]
        of = {name: rates[name][what] for name in access}
        table.add("g", f"{label}, mosquitto with a password file", of["plain"], "/s",
                  note=f"{logins:,} logins known")
        table.add("g", f"{label}, with an ACL file too", of["acl"], "/s")
        table.add("g", f"{label}, with the plugin", of["plugin"], "/s")
        table.add("g", f"{label}, plugin : password file",
                  [a / b for a, b in zip(of["plugin"], of["plain"])], "", at_least=least)
        table.add("g", f"{label}, plugin : password and ACL file",
                  [a / b for a, b in zip(of["plugin"], of["acl"])], "")
    for name, label in (("plain", "a password file"), ("acl", "an ACL file too"),
                        ("plugin", "the plugin")):
        table.add("g", f"the broker's CPU for a message, with {label}", costs[name], "us")
    table.add("g", "logins and checks refused or lost", [wrong], "", at_most=0)


# ---- h: a fleet comes back ----
STORM_PROCESSES = 4  # a client has three descriptors


class Storm:
    """otasim storm, several processes of it."""

    def __init__(self, lab, devices, **options):
        self.processes = []
        each = -(-devices // STORM_PROCESSES)
        for i in range(STORM_PROCESSES):
            n = min(each, devices - i * each)
            if n > 0:
                args = {"devices": n, "first": 1 + i * each, **options}
                self.processes.append(subprocess.Popen(
                    [f"{lab.bin}/otasim", "storm", "--broker", lab.broker_address(),
                     *[x for k, v in args.items() for x in ("--" + k, str(v))]],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))

    def ready(self):
        for p in self.processes:
            if p.stdout.readline() != "ready\n":
                raise RuntimeError("otasim storm: not all devices came up")

    def results(self):
        out = [json.loads(p.stdout.readline()) for p in self.processes]
        for p in self.processes:
            p.wait(60)
        return out

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.terminate()
                p.wait()


def part_h(lab, table, rounds, devices=20_000):
    # the broker has a descriptor for each
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
    n = min(devices, most)
    auth = lab.path("auth")
    os.makedirs(auth)
    open(os.path.join(auth, "passwd"), "w").close()
    access = lab.plugin_access(os.path.join(auth, "passwd"), SERVICE_PASSWORD)
    broker = lab.broker(access, persistent=True)
    otad = Otad(lab, "h", mqtt={"password": SERVICE_PASSWORD, "auth_dir": auth})
    otad.start()
    otad.add_type("bench")
    otad.import_devices("bench", n, password=PASSWORD)
    wait_for("the credentials", lambda: lines_of(os.path.join(auth, "passwd")) > n, 300)
    back, answered, lost, rss, p99 = [], [], [], [], []
    for _ in range(rounds):
        storm = Storm(lab, n, password=PASSWORD, timeout=120)
        try:
            storm.ready()
            broker.stop()
            broker = lab.broker(access, persistent=True)
            r = storm.results()
        finally:
            storm.close()
        began = min(x["began_ms"] for x in r)
        back.append(max((x["began_ms"] - began) / 1e3 + x["connected_s"] for x in r))
        answered.append(max((x["began_ms"] - began) / 1e3 + x["answered_s"] for x in r))
        lost.append(sum(x["lost"] for x in r))
        p99.append(max(x["p99_ms"] for x in r))
        rss.append(otad.process.rss_mib("VmHWM:"))
    otad.process.stop()
    broker.stop()
    table.add("h", f"{n:,} devices, broker restarted: all connected after", back, "s",
              note="" if n == devices else f"no more descriptors than for {n:,}")
    table.add("h", "… and all have an answer after", answered, "s", at_most=60)
    table.add("h", "… checks without an answer", lost, "", at_most=0)
    table.add("h", "… from CONNECT to the answer, p99", p99, "ms")
    table.add("h", "… the most resident memory of otad", rss, "MiB", at_most=150)


def lines_of(path):
    with contextlib.suppress(OSError), open(path, "rb") as f:
        return sum(1 for _ in f)
    return 0


# ---- i: a push beside checks ----
class Listener:
    """When each push came, by mosquitto_sub."""

    def __init__(self, lab, prefix):
        self.path, self.prefix, self.port = lab.path("pushed"), prefix, lab.mqtt_port
        with open(self.path, "w") as out:
            self.process = subprocess.Popen(
                ["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", str(lab.mqtt_port),
                 "-i", "listener", "-q", "1", "-t", "command_send/+", "-F", "%U %t"],
                stdin=subprocess.DEVNULL, stdout=out)

    def hears(self):
        """Whether it has subscribed; sends it a message that is no push."""
        subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-q", "1", "-n",
                        "-t", "command_send/hears"], check=True, timeout=30)
        with open(self.path) as f:
            return "command_send/hears" in f.read()

    def times(self):
        found, end = [], f" command_send/{self.prefix}"
        with open(self.path) as f:
            for line in f:
                at, _, rest = line.partition(" ")
                if (" " + rest).startswith(end):
                    found.append(float(at))
        return found

    def close(self):
        self.process.terminate()
        self.process.wait()


def worst_window(times, rate, seconds):
    """How far the count of any full stretch of so many seconds is from the rate, as a part."""
    worst, start = 0.0, times[0]
    while start + seconds <= times[-1]:
        n = sum(start <= t < start + seconds for t in times)
        worst = max(worst, abs(n / seconds / rate - 1))
        start += seconds
    return worst


def push(lab, otad, devices, rate, work):
    """A task to all of the type `pushed`, while work() is done; when messages came, and the run."""
    listener = Listener(lab, "pushed-")
    try:
        task = otad.post("/tasks", {
            "name": "push", "target": {"device_type": "pushed"}, "rate_per_minute": rate * 60,
            "action": {"kind": "ota_push", "module": "main", "version_attribute": "version"}})
        wait_for("the listener", listener.hears)
        run = post_run(otad, task["id"])
        wait_for("the first push", listener.times)
        done = work()
        path = f"/api/v1/tasks/{task['id']}/runs/{run}"
        wait_for("the run", lambda: get(otad, path)["ended_at"], 2 * devices / rate + 60, 0.2)
        got = get(otad, path)
        wait_for("the last messages", lambda: len(listener.times()) >= devices, 30, 0.5)
        return listener.times(), {c["result"]: c["n"] for c in got["counts"]}, done
    finally:
        listener.close()


def get(otad, path):
    return json.loads(otad.request("GET", path)[1])


def post_run(otad, task):
    status, body = otad.request("POST", f"/api/v1/tasks/{task}/run", "{}")
    if status != 202:
        raise RuntimeError(f"run: {status} {body[:300]!r}")
    return json.loads(body)["run_id"]


def part_i(lab, table, rounds, devices=100_000, rate=1_000, checks=1_000, seconds=10):
    otad = Otad(lab, "i")
    otad.start()
    for kind in ("bench", "pushed"):
        otad.add_type(kind)
    otad.import_devices("bench", 2_000)
    otad.import_devices("pushed", devices, prefix="pushed-")
    # all say that they are there, and what they run, however long it takes
    said_for = devices / 4_000 + 1
    while lab.fleet(devices=devices, prefix="pushed-", window=1, connections=1, spread=True,
                    in_flight=500, mode="write", seconds=said_for,
                    warmup=0)["total_answers"] < devices:
        said_for *= 2
    otad.add_firmware("pushed", "2.0.0", b"pushed")
    otad.add_firmware("bench", "2.0.0", b"checked")
    load = {"devices": 2_000, "window": 4, "connections": 2, "rate": checks, "seconds": seconds,
            "warmup": 1}
    lab.fleet(**load)

    def work():
        return [lab.fleet(**load) for _ in range(rounds)]

    alone = work()
    times, counts, beside = push(lab, otad, devices, rate, work)
    alone += work()
    otad.stop()
    held = (len(times) - 1) / (times[-1] - times[0]) / rate
    inside = len(beside) * (seconds + 1) < devices / rate
    table.add("i", f"push to {devices:,} devices, {rate:,}/s allowed", [held * rate], "/s",
              note=", ".join(f"{n:,} {what}" for what, n in sorted(counts.items())))
    table.add("i", "… off the rate, the whole run", [abs(held - 1)], "", at_most=0.05)
    table.add("i", "… off the rate, the worst 5 s", [worst_window(times, rate, 5)], "",
              at_most=0.05)
    table.add("i", "… devices without the push, or with more than one",
              [devices - counts.get("offered", 0) + abs(len(times) - devices)], "", at_most=0)
    table.add("i", f"{checks:,} checks a second, alone: p99", [r["p99_ms"] for r in alone], "ms")
    table.add("i", f"{checks:,} checks a second, during the push: p99",
              [r["p99_ms"] for r in beside], "ms",
              note="" if inside else "the push ended before the last of them")
    # one before and one after for each
    pairs = [(a["p99_ms"] + b["p99_ms"]) / 2 for a, b in zip(alone[:rounds], alone[rounds:])]
    table.add("i", "during : alone", [b["p99_ms"] / a for a, b in zip(pairs, beside)], "",
              at_most=2)
    table.add("i", "checks lost or answered wrongly",
              [sum(r["lost"] + r["errors"] for r in alone + beside)], "", at_most=0)


OWN_BROKER = "gh"
PARTS = {"g": (part_g, "what the plugin costs"), "h": (part_h, "a fleet comes back at once"),
         "i": (part_i, "a push beside checks")}
