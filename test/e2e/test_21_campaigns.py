"""Campaigns: declared over REST, released phase by phase, paused at the right device, killed on the way."""
import json
from urllib.parse import urlencode

import pytest

from otalib import Device, noise, path_of, request, wait
from watch import Stream

FLEET = 60


class Fleet:
    """Devices in whose name one connection speaks, with otad's own login."""

    def __init__(self, site, kind, n):
        self.site, self.n = site, n
        self.keys = [site.name("DU_camp") for _ in range(n)]
        rows = "key,device_type,tags\n" + "".join(f"{k},{kind},lab\n" for k in self.keys)
        site.otad.ok("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
        self.mouth = getattr(site, "mouth", None) or self.connect()
        for key in self.keys:
            self.say("attributes", key, {"version": "1.0.0"})

    def connect(self):
        site = self.site
        site.mouth = Device(site.broker, "otad", site.otad.password).connected()
        site.devices.append(site.mouth)
        site.mouth.client.subscribe("command_send/+", 1)
        return site.mouth

    def say(self, topic, key, payload):
        info = self.mouth.client.publish(f"{topic}/{key}", json.dumps(payload), 1)
        wait(info.is_published, "a publish is acknowledged")

    def ask(self, key):
        """The offer, or None."""
        answers = []

        def took(_client, _data, m):
            answers.append((m.topic, json.loads(m.payload)))

        self.mouth.client.on_message = took
        self.say("event_report", key, {"method": "otaCheck", "params": {}})
        wait(lambda: any(t == f"command_send/{key}" for t, _ in answers), f"{key} gets an answer")
        body = [b for t, b in answers if t == f"command_send/{key}"][-1]
        return body if body["params"]["upgrade"] else None

    def install(self, key, offer, well):
        got = request(self.site.otad.port, "GET", path_of(offer["params"]["url"]))
        assert got.status == 200
        if well:
            self.say("attributes", key, {"version": offer["params"]["version"]})
            state = "verified"
        else:
            self.say("command_reply", key,
                     {"method": "otaUpgrade", "params": {"ota_result": 1}, "id": offer["id"]})  # fmt: skip
            state = "failed"
        self.site.otad.wait_state(key, state)


@pytest.fixture(scope="module")
def ground(module_site):
    """A type whose devices try once, its firmwares, a fleet."""

    class Ground:
        site = module_site
        kind = module_site.type(attempts=1)
        old = module_site.otad.firmware(kind, "1.0.0")
        new = module_site.otad.firmware(kind, "2.0.0", ("a.bin", noise("new")), release="campaign")
        fleet = Fleet(module_site, kind, FLEET)

    return Ground


def draft(ground, **fields):
    body = {"name": "spring", "firmware": ground.new["id"], **fields}
    return ground.site.otad.ok("POST", "/campaigns", body)


def move(ground, campaign, what, status=200, **body):
    answer = ground.site.otad.rest("POST", f"/campaigns/{campaign['id']}/{what}", body)
    assert answer.status == status, answer
    return answer.json()


def look(ground, campaign):
    return ground.site.otad.ok("GET", f"/campaigns/{campaign['id']}")


def codes(ground, key):
    rows = ground.site.otad.ok("GET", f"/devices/{key}/explain")["reasons"]
    return {r["firmware"]: r for r in rows}


def recount(ground, campaign):
    """The counters against the rows."""
    counted, after = {}, ""
    while True:
        page = ground.site.otad.ok("GET", f"/updates?campaign={campaign['id']}&limit=500{after}")
        for u in page["items"]:
            assert u["campaign"] == campaign["id"]
            key = (u["phase"], u["state"])
            counted[key] = counted.get(key, 0) + 1
        if not page["next"]:
            break
        after = f"&after={page['next']}"
    now = look(ground, campaign)
    assert {(c["phase"], c["state"]): c["n"] for c in now["counts"]} == counted
    return now


def told(ground, campaign):
    """What a stream tells of the campaign, up to its completion."""
    watch = Stream(ground.site.otad, "?types=campaign.*&after=0")
    got = [json.loads(e["data"]) for e in watch.until("campaign.completed")]
    watch.close()
    mine = [e for e in got if e["data"]["campaign"] == campaign["id"]]
    assert all(e["data"]["name"] == campaign["name"] for e in mine)
    return [(e["type"], *(e["data"][k] for k in ("state", "phase", "reason"))) for e in mine]


def test_what_is_wrong_is_told(ground):
    otad = ground.site.otad

    def refused(pointer, **fields):
        body = {"name": "x", "firmware": ground.new["id"], **fields}
        answer = otad.rest("POST", "/campaigns", body)
        assert answer.status == 422, answer
        assert pointer in [e["pointer"] for e in answer.json()["errors"]], answer

    refused("/firmware", firmware=10**9)
    refused("/targets/query", targets={"query": "battery>30"})
    refused("/targets/devices/0", targets={"devices": ["nobody"]})
    refused("/phases/1", phases=[{"percent": 10}, {"percent": 5}])
    refused("/windows/timezone", windows={"timezone": "Mars", "slots": [{"from": "01:00", "to": "02:00"}]})
    refused("/rollback_firmware",
            thresholds={"failed": {"percent": 5, "min_sample": 40, "action": "rollback"}})  # fmt: skip
    refused("/rollback_firmware", rollback_firmware=ground.new["id"])
    refused("/ends_at", starts_at="2030-01-02T00:00:00Z", ends_at="2030-01-01T00:00:00Z")
    assert otad.rest("GET", "/campaigns/999999999").status == 404


def test_a_declaration_comes_back_and_dry_run_counts(ground):
    otad, keys = ground.site.otad, ground.fleet.keys
    c = draft(
        ground,
        targets={"tags": ["lab"], "deny": [keys[0]]},
        phases=[{"devices": keys[1:3]}, {"percent": 50, "success_percent": 95}, {"percent": 100}],
        windows={"timezone": "Asia/Shanghai", "slots": [{"days": ["mon"], "from": "01:00", "to": "05:00"}]},
    )
    assert c["state"] == "draft" and c["targets"]["deny"] == [keys[0]]
    assert c["phases"][0]["devices"] == keys[1:3]
    patched = otad.ok("PATCH", f"/campaigns/{c['id']}", {"name": "summer", "windows": None})
    assert patched["name"] == "summer" and "windows" not in patched
    assert patched["phases"] == c["phases"] and patched["targets"] == c["targets"]
    dry = move(ground, c, "dry-run")
    counts = {(r["phase"], r["reason"]): r["n"] for r in dry["counts"]}
    assert dry["devices"] == FLEET and dry["eligible"] == FLEET - 1 and dry["next"] is None
    assert counts[(None, "denied")] == 1 and counts[(1, "eligible")] == 2
    assert sum(n for (phase, _), n in counts.items() if phase) == FLEET - 1
    parts, after = 0, None
    while True:
        page = move(ground, c, "dry-run", limit=25, **({"after": after} if after else {}))
        parts += page["eligible"]
        after = page["next"]
        if not after:
            break
    assert parts == FLEET - 1
    assert otad.ok("GET", f"/updates?campaign={c['id']}&total=1")["total"] == 0  # nothing is written
    assert codes(ground, keys[5])[ground.new["id"]]["code"] == "campaign_not_started"

    def found(**words):
        return [x["id"] for x in otad.ok("GET", f"/campaigns?{urlencode(words)}")["items"]]

    assert found(state="draft", firmware=ground.new["id"]) == [c["id"]]
    assert found(device_type=ground.kind, state="draft") == [c["id"]]
    assert found(state="running", firmware=ground.new["id"]) == found(device_type="ghost") == []
    assert found(firmware=ground.new["id"] + 1000) == []
    wrong = otad.rest("GET", "/campaigns?state=begun")
    assert wrong.status == 400 and "draft|scheduled" in wrong.json()["detail"]
    assert move(ground, c, "pause", 409)["code"] == "wrong_state"
    assert otad.rest("DELETE", f"/firmwares/{ground.new['id']}").status == 409
    assert otad.rest("DELETE", f"/campaigns/{c['id']}").status == 204
    assert otad.rest("GET", f"/campaigns/{c['id']}").status == 404


def test_one_ten_hundred_percent(ground):
    """1 % → 10 % → 100 % of 60 devices: one named device, six, all; a threshold stops it."""
    otad, fleet = ground.site.otad, ground.fleet
    c = draft(
        ground,
        phases=[
            {"devices": fleet.keys[:1], "success_percent": 100},
            {"count": 6, "success_percent": 80, "min_sample": 6},
            {"percent": 100},
        ],
        pacing={"in_progress": 5},
        thresholds={"failed": {"percent": 5, "min_sample": 20, "action": "pause"}},
    )
    move(ground, c, "start")
    assert otad.rest("PATCH", f"/campaigns/{c['id']}", {"phases": []}).status in (409, 422)
    assert otad.rest("DELETE", f"/campaigns/{c['id']}").json()["code"] == "in_use"

    # phase 1: only the first device
    assert fleet.ask(fleet.keys[1]) is None
    assert codes(ground, fleet.keys[1])[ground.new["id"]]["code"] == "phase_not_open"
    fleet.install(fleet.keys[0], fleet.ask(fleet.keys[0]), True)
    wait(lambda: look(ground, c)["phase"] == 2, "phase 2 opens")

    # phase 2: six that ask, five at once; killed while they are under way
    offers = {k: fleet.ask(k) for k in fleet.keys[1:6]}
    assert all(offers.values())
    assert fleet.ask(fleet.keys[6]) is None
    reason = codes(ground, fleet.keys[6])[ground.new["id"]]
    assert reason["code"] == "paced" and reason["params"]["campaign"] == c["id"]
    otad.kill()
    otad.start()
    assert look(ground, c)["in_progress"] == 5
    assert fleet.ask(fleet.keys[6]) is None
    assert fleet.ask(fleet.keys[1])["id"] == offers[fleet.keys[1]]["id"]  # the same offer
    for key, offer in offers.items():
        fleet.install(key, offer, True)
    fleet.install(fleet.keys[6], fleet.ask(fleet.keys[6]), True)
    wait(lambda: look(ground, c)["phase"] == 3, "phase 3 opens")

    # phase 3: every sixth fails; with 20 ended more than 5 % are too many
    ended = failed = 0
    for i, key in enumerate(fleet.keys[7:]):
        offer = fleet.ask(key)
        if offer is None:
            break
        fleet.install(key, offer, i % 6 != 5)
        ended, failed = ended + 1, failed + (i % 6 == 5)
    now = recount(ground, c)
    assert ended == 20 and failed == 3  # the offer after the one that crossed the line did not leave
    assert now["state"] == "paused" and now["reason"] == "threshold_failed"
    assert codes(ground, fleet.keys[30])[ground.new["id"]]["code"] == "campaign_paused"
    assert fleet.ask(fleet.keys[30]) is None

    # resume after a fix: the rest goes well
    move(ground, c, "resume")
    for key in fleet.keys[27:]:
        fleet.install(key, fleet.ask(key), True)
    now = recount(ground, c)
    by_state = {}
    for row in now["counts"]:
        by_state[row["state"]] = by_state.get(row["state"], 0) + row["n"]
    assert by_state == {"verified": FLEET - 3, "failed": 3}
    done = move(ground, c, "complete")
    assert done["state"] == "completed" and done["in_progress"] == 0
    assert told(ground, c) == [
        ("campaign.started", "running", 1, "operator"),
        ("campaign.phase_opened", "running", 2, "gate"),
        ("campaign.phase_opened", "running", 3, "gate"),
        ("campaign.paused", "paused", 3, "threshold_failed"),
        ("campaign.resumed", "running", 3, "operator"),
        ("campaign.completed", "completed", 3, "operator"),
    ]
    for key in (k for i, k in enumerate(fleet.keys[7:27]) if i % 6 == 5):
        assert otad.ok("GET", f"/devices/{key}/explain")["reason"] in (
            "campaign_ended", "attempts_exhausted")  # fmt: skip
    assert otad.rest("DELETE", f"/campaigns/{c['id']}").status == 204


def test_the_release_is_taken_back(ground):
    """Abort with the declared rollback: it goes to those that got the bad version, and no other."""
    site, otad = ground.site, ground.site.otad
    kind = site.type(attempts=1)
    good = otad.firmware(kind, "1.0.0")
    bad = otad.firmware(kind, "2.0.0", ("b.bin", noise("bad")), release="campaign")
    fleet = Fleet(site, kind, 3)
    c = otad.ok("POST", "/campaigns", {"name": "bad", "firmware": bad["id"],
                                       "rollback_firmware": good["id"]})  # fmt: skip
    move(ground, c, "start")
    fleet.install(fleet.keys[0], fleet.ask(fleet.keys[0]), True)
    waiting = fleet.ask(fleet.keys[1])
    assert move(ground, c, "abort", rollback=True)["rolling_back"] is True
    otad.wait_state(fleet.keys[1], "canceled")
    gone = request(otad.port, "GET", path_of(waiting["params"]["url"]))
    assert gone.status in (404, 410), gone  # nor can it be fetched any more
    assert fleet.ask(fleet.keys[2]) is None
    back = fleet.ask(fleet.keys[0])
    assert back["params"]["version"] == "1.0.0"
    said = otad.ok("GET", f"/devices/{fleet.keys[0]}/explain?module=main")["reasons"]
    assert [r["text"] for r in said if r["code"] == "eligible"] == ["the campaign takes it back from 2.0.0 to 1.0.0"]
    fleet.install(fleet.keys[0], back, True)
    assert fleet.ask(fleet.keys[0]) is None
    rows = otad.ok("GET", f"/updates?campaign={c['id']}&state=verified")["items"]
    assert sorted(u["phase"] for u in rows) == [1, 1000]
    assert otad.rest("DELETE", f"/firmwares/{good['id']}").status == 409


def test_a_task_pushes_what_the_campaign_allows(ground):
    """To devices that do not ask; the pace is the campaign's, the next run brings the next."""
    site, otad = ground.site, ground.site.otad
    kind = site.type()
    firmware = otad.firmware(kind, "2.0.0", ("c.bin", noise("push")), release="campaign")
    devices = [site.device(kind, "1.0.0") for _ in range(3)]
    c = otad.ok("POST", "/campaigns", {"name": "push", "firmware": firmware["id"],
                                       "pacing": {"in_progress": 2}})  # fmt: skip
    move(ground, c, "start")
    task = otad.ok("POST", "/tasks", {"name": "push", "target": {"device_type": kind}, "action": {
        "kind": "ota_push", "version_attribute": "version", "module": "main"}})  # fmt: skip

    def push():
        path = f"/tasks/{task['id']}/run"
        number = otad.rest("POST", path, {}).json()["run_id"]
        run = f"/tasks/{task['id']}/runs/{number}"
        wait(lambda: otad.ok("GET", run)["ended_at"], "the run ends")
        rows = otad.ok("GET", f"{run}/devices")["items"]
        return {r["device"]: (r["result"], r["reason"]) for r in rows}

    assert sorted(push().values()) == [("nothing", "paced"), ("offered", ""), ("offered", "")]
    first = devices[0].receive()
    assert otad.ok("GET", f"/updates/{first['id']}")["campaign"] == c["id"]
    request(otad.port, "GET", path_of(first["params"]["url"]))
    devices[0].report(version="2.0.0")
    otad.wait_state(devices[0].key, "verified")
    assert push()[devices[2].key] == ("offered", "")
    move(ground, c, "abort")


def test_a_type_goes_after_its_campaigns(module_site):
    otad = module_site.otad
    kind = module_site.type()
    firmware = otad.firmware(kind, "2.0.0", release="campaign")
    drafted = otad.ok("POST", "/campaigns", {"name": "never", "firmware": firmware["id"]})
    for path in (f"/campaigns/{drafted['id']}", f"/firmwares/{firmware['id']}",
                 f"/device-types/{kind}"):  # fmt: skip
        answer = otad.rest("DELETE", path)
        assert answer.status == 204, (path, answer)
