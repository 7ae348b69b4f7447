"""The parts of the benchmark about campaigns: what one costs the checks, what it costs the clock,
and how long an operator waits for it, with a million devices."""

import json
import sqlite3
import time

from lab import Otad, wait_for
from parts import measured
from table import median

DEVICES = 1_000_000
KNOWN = 1000  # devices that check: they have reported a version
LOAD = {"window": 1, "connections": 1, "spread": True, "in_flight": 400, "warmup": 1}
ENDED = ("verified", "failed", "rolled_back", "timed_out")


def released(otad, type_key, version, data):
    return otad.add_firmware(type_key, version, data, release="campaign")


def campaign(otad, firmware, **fields):
    return otad.post("/campaigns", {"name": "bench", "firmware": firmware, **fields})["id"]


def move(otad, number, what, limit=600):
    """Seconds that it took."""
    began = time.monotonic()
    status, body = otad.request("POST", f"/api/v1/campaigns/{number}/{what}", "{}", limit=limit)
    if status != 200:
        raise RuntimeError(f"{what} of a campaign: {status} {body[:300]!r}")
    return time.monotonic() - began


def known(lab, prefix):
    """The first devices of a prefix have a version, and their offer if there is one."""
    lab.fleet(devices=KNOWN, prefix=prefix, window=4, connections=1, mode="write", seconds=3,
              warmup=0)


# ---- j: checks ----
FULL = {"targets": {"query": "version!=9.*"},
        "phases": [{"percent": 0.01, "success_percent": 95, "min_sample": 1000000},
                   {"percent": 100}],
        "windows": {"timezone": "UTC", "slots": [{"from": "00:00", "to": "24:00"}]},
        "pacing": {"offers_per_minute": 1000000, "in_progress": 1000000},
        "thresholds": {"failed": {"percent": 5, "min_sample": 40, "action": "pause"}}}


def part_j(lab, table, rounds, seconds=5):
    otad = Otad(lab, "j")
    otad.start()
    for key in ("plain", "open", "camp"):
        otad.add_type(key)
    otad.import_devices("plain", DEVICES, prefix="plain-")
    otad.import_devices("open", KNOWN, prefix="open-")
    otad.import_devices("camp", KNOWN, prefix="camp-")
    firmware = released(otad, "plain", "2.0.0", b"new")
    otad.add_firmware("open", "2.0.0", b"new")
    offered = campaign(otad, released(otad, "camp", "2.0.0", b"new"),
                       **{**FULL, "phases": [{"percent": 100}]})
    move(otad, offered, "start")
    for prefix in ("plain-", "open-", "camp-"):
        known(lab, prefix)
    load = {**LOAD, "devices": KNOWN, "seconds": seconds}
    starts, runs = [], {name: [] for name in ("none", "held", "open", "offered")}
    for _ in range(rounds):
        runs["none"].append(measured(otad, lab, prefix="plain-", **load))
        held = campaign(otad, firmware, **FULL)
        starts.append(move(otad, held, "start"))
        why = b"".join(otad.request("GET", f"/api/v1/devices/plain-000000{i}/explain")[1]
                       for i in range(1, 4))  # fmt: skip
        if b"phase_not_open" not in why:
            raise RuntimeError(f"the campaign holds nothing back: {why[:300]!r}")
        runs["held"].append(measured(otad, lab, prefix="plain-", **load))
        move(otad, held, "abort")
        otad.request("DELETE", f"/api/v1/campaigns/{held}")
        runs["open"].append(measured(otad, lab, prefix="open-", **load))
        runs["offered"].append(measured(otad, lab, prefix="camp-", **load))
    frozen = campaign(otad, firmware, **{**FULL, "targets": {"frozen": True}})
    starts.append(move(otad, frozen, "start"))
    otad.stop()
    cost = {name: [r["cost_us"] for r in several] for name, several in runs.items()}
    for name, offers in (("none", 0), ("held", 0), ("open", 1), ("offered", 1)):
        wrong = [r for r in runs[name] if r["offers"] != offers * r["count"]]
        if wrong:
            raise RuntimeError(f"{name}: {wrong[0]['offers']} of {wrong[0]['count']} were offers")
    table.add("j", "CPU for a check, nothing to do, no campaign", cost["none"], "us",
              note="1,000,000 registered")
    table.add("j", "… held back by a campaign for all", cost["held"], "us")
    table.add("j", "… with : without a campaign",
              [a / b for a, b in zip(cost["held"], cost["none"])], "", at_most=1.2)
    table.add("j", "CPU for a check, an open firmware offered again", cost["open"], "us")
    table.add("j", "… a campaign's firmware offered again", cost["offered"], "us")
    table.add("j", "… with : without a campaign",
              [a / b for a, b in zip(cost["offered"], cost["open"])], "", at_most=1.2)
    table.add("j", "starting a campaign for 1,000,000 devices", starts, "s", at_most=1)
    table.add("j", "checks lost or answered wrongly",
              [sum(r["lost"] + r["errors"] for several in runs.values() for r in several)], "",
              at_most=0)


# ---- k: the clock, and the operator ----
def fill(otad, number, firmware, type_key, ended, active):
    """Updates of a campaign, as otad would have left them: so many that ended, so many under way,
    each of another device; with the counters that belong to them. otad is not running."""
    db = sqlite3.connect(f"{otad.data}/otad.db")
    now = int(time.time() * 1000)
    last = db.execute("SELECT value FROM counter WHERE name = 'update'").fetchone()[0]
    states = "".join(f" WHEN {i} THEN '{s}'" for i, s in enumerate(ENDED[1:], 1))
    with db:
        db.execute(
            "WITH d AS (SELECT row_number() OVER (ORDER BY d.id) AS n, d.id, d.project_id "
            "  FROM device d JOIN device_type t ON t.id = d.type_id WHERE t.key = ?1 LIMIT ?2), "
            f"s AS (SELECT *, CASE WHEN n > ?3 THEN 'downloading' ELSE CASE n % 50{states} "
            "  ELSE 'verified' END END AS state FROM d) "
            "INSERT INTO ota_update (id, project_id, device_id, module, firmware_id, from_version, "
            "  to_version, state, attempt, bytes_total, bytes_served, percent, cause, link_until, "
            "  deadline_at, created_at, updated_at, ended_at, campaign_id, phase) "
            "SELECT ?4 + n, project_id, id, 'main', ?5, '1.0.0', '2.0.0', state, 1, 3, 3, 100, "
            "  'report', ?6 + 172800000, CASE WHEN n > ?3 THEN ?6 + 3600000 + n % 3600000 END, "
            "  ?6, ?6, CASE WHEN n > ?3 THEN NULL ELSE ?6 END, ?7, 1 FROM s",
            (type_key, ended + active, ended, last, firmware, now, number))
        db.execute("INSERT INTO ota_update_history SELECT id, 1, created_at, '', 'planned', 'check', "
                   "'from 1.0.0 to 2.0.0' FROM ota_update WHERE campaign_id = ?", (number,))
        db.execute("INSERT INTO campaign_count SELECT campaign_id, phase, state, count(*) "
                   "FROM ota_update WHERE campaign_id = ? GROUP BY 1, 2, 3", (number,))
        db.execute("UPDATE campaign SET active = ? WHERE id = ?", (active, number))
        db.execute("UPDATE campaign_phase SET offered = ?2, ended = ?3, since_ended = ?3, verified = "
                   "(SELECT n FROM campaign_count WHERE campaign_id = ?1 AND state = 'verified') "
                   "WHERE campaign_id = ?1 AND no = 1", (number, ended + active, ended))
        db.execute("UPDATE counter SET value = ? WHERE name = 'update'", (last + ended + active,))
    made = db.execute("SELECT count(*) FROM ota_update WHERE campaign_id = ?", (number,)).fetchone()
    db.close()
    if made[0] != ended + active:
        raise RuntimeError(f"filled {made[0]} updates")


def ask(otad, path, times=15):
    """Milliseconds of a GET, the median."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        status, body = otad.request("GET", "/api/v1" + path)
        took.append((time.monotonic() - began) * 1000)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {body[:300]!r}")
    return median(took), json.loads(body)


def at_rest(otad):
    """Wait until what starting took is over: from one look to the next it uses a tenth of a CPU at most."""
    last = (time.monotonic(), otad.process.cpu())

    def rests():
        nonlocal last
        before, last = last, (time.monotonic(), otad.process.cpu())
        return last[1] - before[1] < (last[0] - before[0]) / 10

    wait_for("otad comes to rest", rests, limit=120, every=0.5)


def part_k(lab, table, rounds, active=100_000, idle_s=10):
    otad = Otad(lab, "k")
    otad.start()
    otad.add_type("bench")
    otad.import_devices("bench", DEVICES)
    number = campaign(otad, firmware := released(otad, "bench", "2.0.0", b"new"), **{
        **FULL, "phases": [{"percent": 100}], "thresholds": {}})
    move(otad, number, "start")
    otad.stop()
    began = time.monotonic()
    fill(otad, number, firmware, "bench", DEVICES - active, active)
    table.add("k", "making a database with 1,000,000 updates", [time.monotonic() - began], "s")
    ticks, slow = [], {}
    paths = {
        "GET of the campaign, with its counters": f"/campaigns/{number}",
        "the list of campaigns": "/campaigns?total=1",
        "its updates, first page": f"/updates?campaign={number}&limit=100",
        "… with the total": f"/updates?campaign={number}&limit=100&total=1",
        "… those that failed, with the total": f"/updates?campaign={number}&state=failed&limit=100&total=1",
        "… those verified, with the total": f"/updates?campaign={number}&state=verified&limit=100&total=1",
        "… those under way, with the total": f"/updates?campaign={number}&state=active&limit=100&total=1",
        "… of one device, with the total": f"/updates?campaign={number}&device=bench-0000042&total=1",
    }
    totals = {"with the total": DEVICES, "those under way": active, "of one device": 1}
    for _ in range(rounds):
        with otad.running():
            at_rest(otad)
            before, began = otad.process.cpu(), time.monotonic()
            time.sleep(idle_s)
            ticks.append((otad.process.cpu() - before) / (time.monotonic() - began) / 4 * 1000)
            for what, path in paths.items():
                ms, got = ask(otad, path)
                slow.setdefault(what, []).append(ms)
                for part, total in totals.items():
                    if what.startswith("… " + part) and got["total"] != total:
                        raise RuntimeError(f"{what}: {got['total']}")
    table.add("k", "the core's clock, 100,000 updates in progress, each tick", ticks, "ms",
              at_most=5, note="CPU at rest, four ticks a second")
    for what, ms in slow.items():
        table.add("k", what, ms, "ms", at_most=50)


PARTS = {"j": (part_j, "checks beside a campaign for a million devices"),
         "k": (part_k, "a campaign with a million updates")}
