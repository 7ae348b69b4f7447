"""The parts of the benchmark. Each takes a Lab, a Table and the number of rounds.

Every comparison alternates its two sides within one run (A B A B) and takes the median, so that
a machine that is slow today is slow for both.
"""

import json
import os
import re
import subprocess
import threading

import paho.mqtt.client as paho

from lab import TOKEN, Otad, steady, wait_for
from table import median

FLEET = {"devices": 200, "window": 8}


def cost_us(process, before, answers):
    return (process.cpu() - before) / max(answers, 1) * 1e6


def measured(otad, lab, **options):
    """A fleet's figures, and otad's CPU per check beside them."""
    before = otad.process.cpu()
    r = lab.fleet(**options)
    r["cost_us"] = cost_us(otad.process, before, r["total_answers"])
    return r


def complain(table, part, what, runs):
    """Lost checks and errors spoil any figure: they are shown, with a target of none."""
    table.add(part, what + ": checks lost or answered wrongly",
              [sum(r["lost"] + r["errors"] for r in runs)], "", at_most=0,
              note=f"lost {sum(r['lost'] for r in runs)}")


def seeded(lab, name, devices, firmwares=0, type_key="bench", **options):
    """An otad with devices of one type; returns it running, and what the import took."""
    otad = Otad(lab, name, **options)
    otad.start()
    otad.add_type(type_key)
    otad.add_firmwares(type_key, firmwares)
    return otad, otad.import_devices(type_key, devices)


def report_versions(lab, devices, window=4):
    """The first `devices` devices have a version from now on."""
    return lab.fleet(devices=devices, window=window, connections=1, mode="write", seconds=3,
                     warmup=0)


# ---- a: round trips ----
def part_a(lab, table, rounds):
    otad, _ = seeded(lab, "a", 100_000, firmwares=1000)
    lab.fleet(**FLEET, mode="write", seconds=2, warmup=0)  # they report, and get their offers
    size = lab.fleet(**FLEET, seconds=1, warmup=0)["answer_bytes"]
    otad.stop()
    ours, bare, echoes = [], [], []
    for _ in range(rounds):
        with otad.running():
            ours.append(measured(otad, lab, **FLEET, seconds=8, warmup=2))
        for start, runs in ((lab.bare_echo, bare), (lab.echo, echoes)):
            echo = start(size)
            runs.append(lab.fleet(**FLEET, seconds=8, warmup=2))
            echo.stop()
    table.add("a", "otad, round trips, 200 devices x 8 in flight", [r["rate"] for r in ours], "/s")
    table.add("a", "bare echo client in its place: libmosquitto alone", [r["rate"] for r in bare],
              "/s", note=f"answers of {size:.0f} bytes")
    table.add("a", "otad : bare echo", [a["rate"] / b["rate"] for a, b in zip(ours, bare)], "",
              at_least=0.9)
    table.add("a", "echo client over otad's own MQTT code", [r["rate"] for r in echoes], "/s")
    table.add("a", "otad : that echo", [a["rate"] / b["rate"] for a, b in zip(ours, echoes)], "")
    table.add("a", "otad's own CPU for a check", [r["cost_us"] for r in ours], "us", at_most=40)
    table.add("a", "otad, p99", [r["p99_ms"] for r in ours], "ms")
    table.add("a", "bare echo, p99", [r["p99_ms"] for r in bare], "ms")
    table.add("a", "answers that were offers", [r["offers"] / r["count"] for r in ours], "")
    complain(table, "a", "otad", ours)


# ---- b: memory and start ----
def part_b(lab, table, rounds):
    idle = Otad(lab, "b-idle")
    rss = []
    for _ in range(rounds):
        with idle.running():
            # what start-up frees is given back by then
            rss.append(steady("idle memory", idle.process.rss_mib, times=20))
    table.add("b", "resident memory, idle", rss, "MiB", at_most=12)

    otad, took = seeded(lab, "b", 1_000_000, firmwares=10)
    table.add("b", "import of 1,000,000 devices", [took], "s")
    table.add("b", "import, rows", [1_000_000 / took], "/s")
    table.add("b", "resident memory right after the import", [otad.process.rss_mib()], "MiB")
    otad.stop()
    starts, fresh, worked = [], [], []
    for _ in range(rounds):
        otad.drop_file_cache()
        starts.append(otad.start())
        fresh.append(otad.process.rss_mib())
        lab.fleet(devices=1_000_000, window=1, connections=1, spread=True, in_flight=1000,
                  seconds=5, warmup=0)
        worked.append(otad.process.rss_mib())
        otad.stop()
    table.add("b", "cold start with 1,000,000 devices", starts, "s", at_most=1)
    table.add("b", "resident memory with them, fresh", fresh, "MiB")
    table.add("b", "resident memory with them, after checks of many", worked, "MiB", at_most=120)


# ---- c: HTTP ----
def wrk(url, connections, seconds, token=None, script=None):
    """Requests per second; anything but success is an error."""
    args = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    if token:
        args += ["-H", "Authorization: Bearer " + token]
    if script:
        args += ["-s", script[0], url, "--", *map(str, script[1:])]
    else:
        args.append(url)
    out = subprocess.run(args, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError("wrk " + url + ": " + " ".join(out.split()))
    return float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1])


def offered_links(lab, devices):
    """Every device's own link, as it is offered over MQTT."""
    links, ready = {}, threading.Event()
    client = paho.Client(client_id="links")
    client.on_subscribe = lambda *_: ready.set()

    def on_message(_client, _userdata, m):
        links[m.topic] = json.loads(m.payload)["params"].get("url")

    client.on_message = on_message
    client.connect("127.0.0.1", lab.mqtt_port)
    client.subscribe("command_send/+", 1)
    client.loop_start()
    if not ready.wait(30):
        raise RuntimeError("the broker did not answer")
    for _ in range(10):
        lab.fleet(devices=devices, window=1, connections=1, mode="write", spread=True,
                  in_flight=200, seconds=devices / 3000, warmup=0)
        if len(links) == devices and all(links.values()):
            break
    client.loop_stop()
    client.disconnect()
    if len(links) < devices or not all(links.values()):
        raise RuntimeError(f"{len(links)} of {devices} devices got links")
    return list(links.values())


LINKS_LUA = """
local links, i = {}, 0
function init(args)
  for line in io.lines(args[1]) do links[#links + 1] = line end
  i = tonumber(args[2])
end
function request()
  i = i % #links + 1
  return wrk.format("GET", links[i])
end
"""


def part_c(lab, table, rounds):
    # A link is good for a few downloads: a device that needs more is failing. With so many each is
    # fetched about once, also by a fast machine.
    seconds = 4
    devices = 20_000 * rounds
    image = os.urandom(1 << 20)
    root = lab.path("www")
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, "f.bin"), "wb") as f:
        f.write(image)
    with open(lab.path("links.lua"), "w") as f:
        f.write(LINKS_LUA)
    otad = Otad(lab, "c", http_threads=1)
    figures = {name: [] for name in ("link", "cost", "nginx link", "nginx cost", "file",
                                   "nginx file", "device", "nginx device")}
    with otad.running():
        base = f"http://127.0.0.1:{otad.port}"
        otad.add_type("bench")
        firmware = otad.add_firmware("bench", "2.0.0", image)
        otad.import_devices("bench", devices)
        with open(lab.path("links"), "w") as f:
            f.writelines(url.removeprefix(base) + "\n" for url in offered_links(lab, devices))
        device = "/api/v1/devices/bench-0000001"
        with open(os.path.join(root, "device.json"), "wb") as f:
            f.write(otad.request("GET", device)[1])
        nginx, port = lab.nginx(root)
        used = 0
        for _ in range(rounds):
            script = (lab.path("links.lua"), lab.path("links"), used)
            before = otad.process.cpu()
            figures["link"].append(wrk(base, 16, seconds, script=script))
            steady("what follows the downloads", otad.process.cpu)
            figures["cost"].append(cost_us(otad.process, before, figures["link"][-1] * seconds))
            before = nginx.cpu()
            # The same requests: what it costs wrk to make them is no difference between the two.
            figures["nginx link"].append(wrk(f"http://127.0.0.1:{port}", 16, seconds,
                                             script=script))
            figures["nginx cost"].append(
                cost_us(nginx, before, figures["nginx link"][-1] * seconds))
            used += int(figures["link"][-1] * seconds) + 100
            figures["nginx file"].append(wrk(f"http://127.0.0.1:{port}/f.bin", 16, seconds))
            figures["file"].append(wrk(f"{base}/api/v1/firmwares/{firmware}/files/1", 16, seconds,
                                       TOKEN))
            figures["device"].append(wrk(base + device, 32, seconds, TOKEN))
            figures["nginx device"].append(
                wrk(f"http://127.0.0.1:{port}/device.json", 32, seconds))
        nginx.stop()
    table.add("c", "1 MiB downloads through devices' own links", figures["link"], "MiB/s")
    table.add("c", "nginx, the same requests", figures["nginx link"], "MiB/s")
    table.add("c", "otad : nginx", [a / b for a, b in zip(figures["link"], figures["nginx link"])],
              "", at_least=0.9)
    table.add("c", "otad's own CPU for a download", figures["cost"], "us")
    table.add("c", "nginx's CPU for a download", figures["nginx cost"], "us")
    table.add("c", "the operator's download of it", figures["file"], "MiB/s")
    table.add("c", "nginx, the same file, always the same request", figures["nginx file"], "MiB/s")
    table.add("c", "the operator's download : nginx",
              [a / b for a, b in zip(figures["file"], figures["nginx file"])], "")
    table.add("c", "GET of one device, one http thread", figures["device"], "/s", at_least=25_000)
    table.add("c", "nginx, the same bytes from a file", figures["nginx device"], "/s")


# ---- d: registered devices ----
def part_d(lab, table, rounds):
    small, _ = seeded(lab, "d-small", 1_000, firmwares=100)
    report_versions(lab, 1000)
    small.stop()
    big, _ = seeded(lab, "d-big", 1_000_000, firmwares=100)
    report_versions(lab, 1000)
    big.stop()
    load = {"window": 1, "connections": 1, "spread": True, "in_flight": 800, "seconds": 5,
            "warmup": 1}
    figures = {"small": [], "few": [], "many": []}
    for _ in range(rounds):
        with small.running():
            figures["small"].append(measured(small, lab, devices=1000, **load))
        with big.running():
            figures["few"].append(measured(big, lab, devices=1000, **load))
            figures["many"].append(measured(big, lab, devices=1_000_000, **load))
    cost = {name: [r["cost_us"] for r in runs] for name, runs in figures.items()}
    table.add("d", "CPU for a check, 1,000 registered", cost["small"], "us")
    table.add("d", "CPU for a check, 1,000 of 1,000,000 registered", cost["few"], "us")
    table.add("d", "CPU for a check, spread over all 1,000,000", cost["many"], "us")
    table.add("d", "1,000,000 : 1,000 registered, few devices",
              [a / b for a, b in zip(cost["few"], cost["small"])], "", at_most=1.3)
    table.add("d", "1,000,000 : 1,000 registered, many devices",
              [a / b for a, b in zip(cost["many"], cost["small"])], "", at_most=1.3)
    for name, runs in figures.items():
        complain(table, "d", name, runs)


# ---- e: slow disk ----
SLOW_US = 8000


def set_delay(path, us):
    with open(path + ".new", "w") as f:
        f.write(f"sync_delay_us={us}\n")
    os.rename(path + ".new", path)


def part_e(lab, table, rounds):
    control = lab.path("faults")
    set_delay(control, 0)
    preload = os.path.abspath("build/preload/faultfs.so")
    otad = Otad(lab, "e", preload={"LD_PRELOAD": preload, "FAULTFS_CONTROL": control,
                                   "FAULTFS_SYNC_ONLY": "1"})
    otad.start()
    otad.add_type("bench")
    otad.import_devices("bench", 10_000)
    load = {"devices": 2000, "window": 1, "connections": 1, "seconds": 5, "warmup": 1}
    runs = {"closed": [], "paced": [], "mixed slow": [], "mixed fast": [], "echo": [],
            "echo paced": []}
    for _ in range(rounds):
        set_delay(control, SLOW_US)
        runs["closed"].append(measured(otad, lab, mode="write", **load))
        runs["paced"].append(lab.fleet(mode="write", rate=10_000, **load))
        for name, us in (("slow", SLOW_US), ("fast", 0)):
            set_delay(control, us)
            runs["mixed " + name].append(lab.fleet(mode="mixed", rate=6_000, **load))
        otad.stop()
        echo = lab.echo(300)
        runs["echo"].append(lab.fleet(**load))
        runs["echo paced"].append(lab.fleet(rate=10_000, **load))
        echo.stop()
        otad.start()
    otad.stop()
    table.add("e", "2,000 in flight, each writes, fsync 8 ms: rate",
              [r["rate"] for r in runs["closed"]], "/s", at_least=10_000)
    table.add("e", "… otad's own CPU for a check that writes", [r["cost_us"] for r in runs["closed"]],
              "us")
    table.add("e", "… p99 with always 2,000 in flight", [r["p99_ms"] for r in runs["closed"]], "ms",
              note="2,000 / rate is its least")
    table.add("e", "10,000 a second, up to 2,000 in flight: rate",
              [r["rate"] for r in runs["paced"]], "/s", at_least=9_900)
    table.add("e", "… p99", [r["p99_ms"] for r in runs["paced"]], "ms", at_most=100)
    table.add("e", "echo client in its place, always 2,000 in flight: rate",
              [r["rate"] for r in runs["echo"]], "/s")
    table.add("e", "echo client, 10,000 a second: rate", [r["rate"] for r in runs["echo paced"]],
              "/s")
    table.add("e", "echo client, 10,000 a second: p99", [r["p99_ms"] for r in runs["echo paced"]],
              "ms")
    slow = [r["plain"] for r in runs["mixed slow"]]
    fast = [r["plain"] for r in runs["mixed fast"]]
    table.add("e", "plain checks beside writing ones, 8 ms: p50", [r["p50_ms"] for r in slow], "ms")
    table.add("e", "plain checks beside writing ones, 0 ms: p50", [r["p50_ms"] for r in fast], "ms")
    table.add("e", "plain checks, p50, slow disk : fast disk",
              [a["p50_ms"] / b["p50_ms"] for a, b in zip(slow, fast)], "", at_most=1.3)
    table.add("e", "plain checks, p99, slow disk : fast disk",
              [a["p99_ms"] / b["p99_ms"] for a, b in zip(slow, fast)], "")
    table.add("e", "writing checks beside them, 8 ms: p50",
              [r["write"]["p50_ms"] for r in runs["mixed slow"]], "ms")
    complain(table, "e", "all runs", [r for several in runs.values() for r in several])


# ---- f: import beside checks ----
def during_import(lab, otad, prefix, rows, **options):
    """Figures of a fleet whose measured stretch lies within an import of so many rows."""
    took = []
    thread = threading.Thread(
        target=lambda: took.append(otad.import_devices("bench", rows, prefix=prefix)))
    before = otad.metric("otad_ota_checks_total")
    fleet = lab.fleet_start(**options)
    wait_for("the fleet's first check", lambda: otad.metric("otad_ota_checks_total") > before)
    thread.start()
    r = fleet.result()
    inside = thread.is_alive()
    thread.join()
    if not took:
        raise RuntimeError("the import failed")
    r["import_s"], r["inside"] = took[0], inside
    return r


def part_f(lab, table, rounds):
    rows = 1_000_000
    otad, took = seeded(lab, "f", rows, firmwares=100)
    lab.fleet(**FLEET, mode="write", seconds=2, warmup=0)
    seconds = max(2, min(15, int(took * 0.7) - 2))
    load = {**FLEET, "seconds": seconds, "warmup": 2}
    figures = {"alone": [], "beside": [], "paced alone": [], "paced beside": []}
    for i in range(rounds):
        figures["alone"].append(lab.fleet(**load))
        figures["beside"].append(during_import(lab, otad, f"f{i}a-", rows, **load))
        figures["paced alone"].append(lab.fleet(**load, rate=4000))
        figures["paced beside"].append(during_import(lab, otad, f"f{i}b-", rows, **load, rate=4000))
    otad.stop()
    for name in ("", "paced "):
        alone, beside = figures[name + "alone"], figures[name + "beside"]
        label = "4,000 checks a second" if name else "200 devices x 8"
        table.add("f", f"{label}: p99 alone", [r["p99_ms"] for r in alone], "ms")
        table.add("f", f"{label}: p99 during an import", [r["p99_ms"] for r in beside], "ms")
        table.add("f", f"{label}: during : alone",
                  [a["p99_ms"] / b["p99_ms"] for a, b in zip(beside, alone)], "", at_most=3)
        table.add("f", f"{label}: rate alone", [r["rate"] for r in alone], "/s")
        table.add("f", f"{label}: rate during", [r["rate"] for r in beside], "/s")
    runs = [r for several in figures.values() for r in several]
    imports = [r for r in runs if "import_s" in r]
    table.add("f", "import of 1,000,000 devices beside checks", [r["import_s"] for r in imports],
              "s", note=f"{sum(r['inside'] for r in imports)} of {len(imports)} outlasted the "
                        "measured stretch")
    complain(table, "f", "all runs", runs)


PARTS = {"a": (part_a, "round trips"), "b": (part_b, "memory and start"), "c": (part_c, "HTTP"),
         "d": (part_d, "registered devices"), "e": (part_e, "slow disk"),
         "f": (part_f, "import beside checks")}
