"""Tasks: pushes by hand and by the clock, to devices that are there and to some that are not."""
import collections
import datetime
import json
import time

import pytest

from otalib import PRELOAD, Device, wait

OTA = {"kind": "ota_push", "version_attribute": "version", "module": "main"}


def make(site, target, action=None, **fields):
    body = {"name": "push", "action": action or OTA, "target": target, **fields}
    return site.otad.ok("POST", "/tasks", body)


def ended(site, task, run):
    path = f"/tasks/{task['id']}/runs/{run}"

    def over():
        got = site.otad.ok("GET", path)
        return got["ended_at"] and got

    return wait(over, f"run {run} ends")


def run(site, task, **body):
    """By hand, to its end: the run with its counts as a dictionary."""
    answer = site.otad.rest("POST", f"/tasks/{task['id']}/run", body)
    assert answer.status == 202, answer
    return ended(site, task, answer.json()["run_id"])


def counts(got):
    return {(c["result"], c["reason"]): c["n"] for c in got["counts"]}


def rows(site, task, number):
    items, after = [], ""
    while True:
        page = site.otad.ok("GET", f"/tasks/{task['id']}/runs/{number}/devices?limit=100{after}")
        items += page["items"]
        if not page["next"]:
            return items
        after = f"&after={page['next']}"


def iso(seconds):
    at = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return at.isoformat().replace("+00:00", "Z")


def speak(site, key, attributes):
    """A report in a device's name, by otad's own login: without a connection for each."""
    if getattr(site, "speaker", None) is None:
        site.speaker = Device(site.broker, "otad", site.otad.password).connected()
        site.devices.append(site.speaker)
    info = site.speaker.client.publish(f"attributes/{key}", json.dumps(attributes), 1)
    wait(info.is_published, "it is taken")


@pytest.fixture
def dated(make_site):
    site = make_site(preload=PRELOAD / "clock.so")
    ahead = 0

    def later(seconds, start=True):
        nonlocal ahead
        ahead += seconds
        site.otad.stop()
        if start:
            site.otad.start(CLOCK_AHEAD_S=str(ahead))

    site.later = later
    site.now = lambda: time.time() + ahead
    return site


def test_push_to_a_type(site):
    kind = site.type()
    old, new, mute = site.device(kind, "1.0.0"), site.device(kind, "2.0.0"), site.device(kind)
    firmware = site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind})
    assert task["schedule"] == {"kind": "manual"} and task["next_at"] is None
    mute.report(other=1)
    got = run(site, task)
    assert got["state"] == "done" and got["cause"] == "operator" and got["devices"] == 3
    assert counts(got) == {("offered", ""): 1, ("nothing", "not_newer"): 1,
                           ("nothing", "version_unknown"): 1}  # fmt: skip
    push = old.receive()
    assert push["method"] == "otaUpgrade" and push["params"]["upgrade"] is True
    assert push["params"]["version"] == "2.0.0"
    update = site.otad.ok("GET", f"/updates/{push['id']}")
    assert update["firmware"] == firmware["id"] and update["history"][0]["cause"] == "task"
    # a check repeats the same offer; who has nothing newer got no message at all
    assert old.offer()["id"] == push["id"]
    assert new.inbox.empty() and mute.inbox.empty()
    devices = {r["device"]: r for r in rows(site, task, got["run_id"])}
    assert devices[old.key]["message_id"] == push["id"]
    assert devices[new.key]["reason"] == "not_newer"


def test_a_version_that_was_reported_before_anybody_asked(site):
    kind = site.type()
    device = site.device(kind)
    device.report(sw_ver=1.5)
    site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind}, {"kind": "ota_push", "version_attribute": "sw_ver"})
    assert counts(run(site, task)) == {("offered", ""): 1}
    assert device.receive()["params"]["version"] == "2.0.0"


def test_chosen_devices(site):
    kind = site.type()
    a, b, c = (site.device(kind, "1.0.0") for _ in range(3))
    stranger = site.device(site.type(), "1.0.0")
    site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind})
    assert counts(run(site, task, devices=[a.key, c.key])) == {("offered", ""): 2}
    a.receive()
    c.receive()
    b.offer()  # its first message answers its own check
    bad = site.otad.rest("POST", f"/tasks/{task['id']}/run", {"devices": [a.key, stranger.key]})
    assert bad.status == 422 and bad.json()["errors"][0]["pointer"] == "/devices/1"
    bad = site.otad.rest("POST", f"/tasks/{task['id']}/run", {"devices": ["nobody"]})
    assert bad.status == 422


def test_tags_and_lists(site):
    kind = site.type()
    red = site.device(kind, "1.0.0", tags=["red", "lab"])
    blue = site.device(kind, "1.0.0", tags=["blue"])
    infra = site.device(kind, "1.0.0", tags=["infrared"])
    site.otad.firmware(kind, "2.0.0")
    task = make(site, {"tags": ["red", "green"]})
    assert [r["device"] for r in rows(site, task, run(site, task)["run_id"])] == [red.key]
    task = site.otad.ok("PATCH", f"/tasks/{task['id']}", {"target": {"devices": [blue.key]}})
    assert task["target"] == {"devices": [blue.key]}
    assert [r["device"] for r in rows(site, task, run(site, task)["run_id"])] == [blue.key]
    assert infra.inbox.empty()


def test_a_device_that_downloads_is_left_alone(site):
    kind = site.type()
    device = site.device(kind, "1.0.0")
    site.otad.firmware(kind, "2.0.0")
    offer = device.offer()
    device.publish("command_reply", {"method": "otaUpgrade", "params": {}, "id": offer["id"]})
    site.otad.wait_state(device.key, "accepted")
    task = make(site, {"device_type": kind})
    assert counts(run(site, task)) == {("nothing", "update_in_progress"): 1}
    assert device.inbox.empty()


def test_offline_is_kept_and_delivered_once(dated):
    site = dated
    kind = site.type()
    device = site.device(kind, "1.0.0")
    other = site.device(kind, "1.0.0")
    site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind})
    wait(lambda: site.otad.ok("GET", f"/devices/{other.key}")["last_seen_at"], "the notes are written")
    site.later(3600)
    got = run(site, task)
    assert counts(got) == {("pending_offline", ""): 2}
    assert site.otad.updates(device.key) == [], "no clock runs for a device that is not there"
    site.later(10)  # what is kept outlives a restart
    device.connected()
    device.report(temperature=20)
    push = device.receive()
    assert push["params"]["upgrade"] is True
    device.report(temperature=21)
    assert device.offer()["id"] == push["id"], "the next message is the answer to the check"
    # the other one asks by itself: one message, not two
    other.connected()
    first = other.offer()
    other.report(temperature=1)
    assert other.offer()["id"] == first["id"] and other.inbox.empty()
    wait(lambda: counts(site.otad.ok("GET", f"/tasks/{task['id']}/runs/{got['run_id']}"))
         == {("offered", ""): 2}, "the counts follow")  # fmt: skip


def test_kept_but_not_right_any_more(dated):
    site = dated
    kind = site.type()
    device = site.device(kind, "1.0.0")
    firmware = site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind})
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["last_seen_at"], "the note is written")
    site.later(3600)
    got = run(site, task)
    assert counts(got) == {("pending_offline", ""): 1}
    site.otad.ok("PATCH", f"/firmwares/{firmware['id']}", {"enabled": False})
    device.connected()
    device.report(temperature=20)
    wait(lambda: counts(site.otad.ok("GET", f"/tasks/{task['id']}/runs/{got['run_id']}"))
         == {("nothing", "firmware_disabled"): 1}, "it is given up")  # fmt: skip
    device.nothing()
    assert device.inbox.empty()


def test_kill_in_the_middle(make_site):
    site = make_site()
    kind = site.type()
    n = 300
    keys = [site.name("DU_many") for _ in range(n)]
    answer = site.otad.rest(
        "POST", "/devices/import",
        "key,device_type,password\n" + "".join(f"{k},{kind},secret-of-{k}\n" for k in keys),
        headers={"Content-Type": "text/csv"},
    )  # fmt: skip
    assert answer.status in (200, 201), answer
    site.otad.firmware(kind, "2.0.0")
    for key in keys:
        speak(site, key, {"version": "1.0.0"})
    wait(lambda: site.otad.ok("GET", f"/devices/{keys[-1]}")["last_seen_at"], "all are noted")
    got_ids = collections.defaultdict(set)
    site.speaker.client.on_message = lambda _c, _d, m: got_ids[m.topic.split("/")[1]].add(
        json.loads(m.payload)["id"])  # fmt: skip
    subscribed = site.speaker.client.subscribe("command_send/+", 1)
    assert subscribed[0] == 0
    task = make(site, {"device_type": kind}, rate_per_minute=6000)
    number = site.otad.ok("POST", f"/tasks/{task['id']}/run")["run_id"]
    for stop in (0.15, 0.5, 0.8):
        wait(lambda: site.otad.ok("GET", f"/tasks/{task['id']}/runs/{number}")["devices"]
             >= n * stop, "the run goes on", step=0.01)  # fmt: skip
        site.otad.kill()
        site.otad.start()
    got = ended(site, task, number)
    assert counts(got) == {("offered", ""): n}
    seen = collections.Counter(r["device"] for r in rows(site, task, number))
    assert seen == {k: 1 for k in keys}
    assert site.otad.ok("GET", "/updates?state=offered&total=1&limit=1")["total"] == n
    # what a crash took between the commit and the broker comes with the next sign of life
    for key in keys:
        speak(site, key, {"temperature": 20})
    wait(lambda: len(got_ids) == n, "every device was told")
    assert {len(ids) for ids in got_ids.values()} == {1}


def test_schedule_and_misfire(dated):
    site = dated
    kind = site.type()
    device = site.device(kind, "1.0.0")
    site.otad.firmware(kind, "2.0.0")
    soon = {"kind": "once", "at": iso(site.now() + 2)}
    due = make(site, {"device_type": kind}, schedule=soon)
    device.receive()
    runs = lambda t: site.otad.ok("GET", f"/tasks/{t['id']}/runs")["items"]  # noqa: E731
    got = wait(lambda: [r for r in runs(due) if r["ended_at"]], "it ran")
    assert [r["cause"] for r in got] == ["schedule"]
    assert site.otad.ok("GET", f"/tasks/{due['id']}")["next_at"] is None
    late = make(site, {"device_type": kind},
                schedule={"kind": "once", "at": iso(site.now() + 1000)})  # fmt: skip
    lost = make(site, {"device_type": kind}, grace_s=60,
                schedule={"kind": "once", "at": iso(site.now() + 1000)})  # fmt: skip
    often = make(site, {"device_type": kind}, grace_s=120,
                 schedule={"kind": "interval", "every": 1, "unit": "minutes",
                           "from": iso(site.now() + 100)})  # fmt: skip
    site.later(1400)
    assert wait(lambda: runs(late), "within the grace")[0]["state"] in ("running", "done")
    missed = wait(lambda: runs(lost), "it is noted")
    assert [(r["state"], r["reason"]) for r in missed] == [("skipped", "missed")]
    got = wait(lambda: len(runs(often)) >= 2 and runs(often), "missed, and run once")
    assert [r["state"] for r in got][-1] == "skipped" and got[-2]["cause"] == "schedule"
    assert len(got) == 2
    assert runs(late)[0]["due_at"] < site.otad.ok("GET", f"/tasks/{often['id']}")["next_at"]


def test_overlap(site):
    kind = site.type()
    for _ in range(3):
        site.device(kind, "1.0.0")
    site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind}, rate_per_minute=1)
    number = site.otad.ok("POST", f"/tasks/{task['id']}/run")["run_id"]
    again = site.otad.rest("POST", f"/tasks/{task['id']}/run")
    assert again.status == 409 and again.json()["code"] == "run_under_way"
    site.otad.ok("PATCH", f"/tasks/{task['id']}",
                 {"schedule": {"kind": "once", "at": iso(time.time() + 0.5)}})  # fmt: skip
    skipped = wait(lambda: [r for r in site.otad.ok("GET", f"/tasks/{task['id']}/runs")["items"]
                            if r["state"] == "skipped"], "the second is skipped")  # fmt: skip
    assert skipped[0]["reason"] == "run_under_way"
    site.otad.ok("PATCH", f"/tasks/{task['id']}", {"enabled": False})
    got = ended(site, task, number)
    assert (got["state"], got["reason"]) == ("canceled", "task_disabled")
    no = site.otad.rest("POST", f"/tasks/{task['id']}/run")
    assert no.status == 409 and no.json()["code"] == "task_disabled"
    site.otad.ok("DELETE", f"/tasks/{task['id']}")
    assert site.otad.rest("GET", f"/tasks/{task['id']}/runs").status == 404


def test_commands_and_attributes(site):
    kind = site.type()
    device = site.device(kind, "1.0.0")
    task = make(site, {"devices": [device.key]},
                {"kind": "command_send", "method": "reboot", "params": {"delay": 3}})  # fmt: skip
    got = run(site, task)
    assert counts(got) == {("sent", ""): 1}
    command = device.receive()
    assert command["method"] == "reboot" and command["params"] == {"delay": 3}
    assert 0 < command["id"] < 2**31
    before = site.otad.metric("otad_device_messages_refused_total")
    device.publish("command_reply", {"method": "reboot", "params": {"ok": True},
                                     "id": command["id"]})  # fmt: skip
    wait(lambda: counts(site.otad.ok("GET", f"/tasks/{task['id']}/runs/{got['run_id']}"))
         == {("answered", ""): 1}, "the reply is noted")  # fmt: skip
    assert site.otad.metric("otad_device_messages_refused_total") == before
    task = make(site, {"devices": [device.key]},
                {"kind": "attributes_push", "attributes": {"led": "on"}})  # fmt: skip
    run(site, task)
    assert device.receive("attributes_push") == {"led": "on"}


def test_rate(site):
    kind = site.type()
    devices = [site.device(kind, "1.0.0") for _ in range(12)]
    site.otad.firmware(kind, "2.0.0")
    task = make(site, {"device_type": kind}, rate_per_minute=120)
    got = run(site, task)
    assert counts(got) == {("offered", ""): 12}
    at = sorted(r["at"] for r in rows(site, task, got["run_id"]))
    first, last = (datetime.datetime.fromisoformat(t.replace("Z", "+00:00")) for t in
                   (at[0], at[-1]))  # fmt: skip
    assert 5.0 <= (last - first).total_seconds(), at
    for device in devices:
        device.receive()


def test_what_is_refused(site):
    kind = site.type()
    good = {"name": "x", "action": OTA, "target": {"device_type": kind}}
    for change, pointer in [
        ({"action": {"kind": "dance"}}, "/action/kind"),
        ({"action": {"kind": "ota_push", "moduel": "main"}}, "/action/moduel"),
        ({"target": {}}, "/target"),
        ({"target": {"device_type": kind, "tags": ["a"]}}, "/target"),
        ({"target": {"device_type": "nobody"}}, "/target/device_type"),
        ({"target": {"devices": ["nobody"]}}, "/target/devices/0"),
        ({"schedule": {"kind": "cron", "cron": "61 * * * *"}}, "/schedule/cron"),
        ({"schedule": {"kind": "repeat", "time": "25:00", "days": [1]}}, "/schedule/time"),
        ({"timezone": "Mars/Base"}, "/timezone"),
        ({"rate_per_minute": -1}, "/rate_per_minute"),
    ]:
        answer = site.otad.rest("POST", "/tasks", {**good, **change})
        assert answer.status == 422, answer
        assert pointer in [e["pointer"] for e in answer.json()["errors"]], answer
    task = site.otad.ok("POST", "/tasks", {**good, "timezone": "Asia/Shanghai", "schedule": {
        "kind": "repeat", "weekdays": ["mon"], "time": "03:30"}})  # fmt: skip
    at = datetime.datetime.fromisoformat(task["next_at"].replace("Z", "+00:00"))
    assert (at.weekday(), at.hour, at.minute) == (6, 19, 30)
    listed = site.otad.ok("GET", "/tasks?limit=500")["items"]
    assert task in listed
    assert "/tasks/{id}/runs/{run}/devices" in str(site.otad.rest("GET", "/openapi.json").body)


def test_presence_and_what_is_left_of_runs(make_site):
    """With the plugin a silent device that is connected gets its message, one that has just left
    does not; of the runs the last ones stay."""
    site = make_site({"task.keep_runs": 2}, plugin=True)
    device = site.device()
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["online"], "it is online")
    task = make(site, {"devices": [device.key]}, {"kind": "command_send", "method": "ping"})
    assert counts(run(site, task)) == {("sent", ""): 1}
    assert device.receive()["method"] == "ping"
    device.report(temperature=20)
    device.client.disconnect()
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["online"] is False, "it is gone")
    last = [run(site, task) for _ in range(4)]
    assert all(counts(r) == {("pending_offline", ""): 1} for r in last[-1:])
    runs = f"/tasks/{task['id']}/runs"
    wait(lambda: [r["run_id"] for r in site.otad.ok("GET", runs)["items"]]
         == [r["run_id"] for r in last[:1:-1]], "the old runs go")  # fmt: skip
    site.otad.ok("DELETE", f"/tasks/{task['id']}")
    assert site.otad.rest("GET", runs).status == 404
