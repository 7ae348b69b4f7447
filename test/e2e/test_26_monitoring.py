"""Monitoring: versions of a fleet, how a campaign gets on, what devices log, exports."""
from otalib import fetch, noise, wait


def test_versions_of_a_type(make_site):
    site = make_site()
    kind = site.type()
    devices = [site.device(kind, version=v) for v in ("1.0.0", "1.0.0", "1.1.0")]

    def counted():
        got = site.otad.ok("GET", f"/device-types/{kind}/versions")
        return {v["version"]: v["devices"] for v in got["versions"]}

    wait(lambda: counted() == {"1.0.0": 2, "1.1.0": 1}, "versions are counted")
    devices[0].report(version="1.1.0")
    wait(lambda: counted() == {"1.0.0": 1, "1.1.0": 2}, "a version moves")
    site.otad.ok("PATCH", f"/devices/{devices[1].key}", {"enabled": False})
    assert site.otad.ok("GET", f"/device-types/{kind}/versions")["disabled"] == 1
    got = site.otad.ok("GET", f"/devices/{devices[0].key}/versions")["items"]
    assert [v["version"] for v in got] == ["1.1.0", "1.0.0"]
    assert got[0]["until"] is None and got[1]["until"] == got[0]["since"]
    # A start writes the point of the hour.
    site.otad.stop()
    site.otad.start()

    def points(step):
        return site.otad.ok("GET", f"/device-types/{kind}/versions?step={step}")["points"]

    wait(lambda: points("hour") and points("day"), "there are points")
    assert points("hour")[0]["versions"] == {"1.1.0": 2}
    assert points("hour")[0]["disabled"] == 1
    assert site.otad.rest("GET", f"/device-types/{kind}/versions?step=week").status == 400
    assert site.otad.rest("GET", f"/device-types/{kind}/versions?from=today").status == 400
    assert site.otad.ok("GET", f"/device-types/{kind}/versions?from=2100-01-01T00:00:00Z")["points"] == []  # fmt: skip
    assert site.otad.rest("GET", "/device-types/none/versions").status == 404


def campaign(site, kind, firmware, **fields):
    body = {"name": "c", "firmware": firmware["id"], **fields}
    made = site.otad.ok("POST", "/campaigns", body)
    site.otad.ok("POST", f"/campaigns/{made['id']}/start")
    return made["id"]


def fail(device, offer):
    device.publish("command_reply",
                   {"method": "otaUpgrade", "id": offer["id"], "params": {"ota_result": 1}})  # fmt: skip


def test_a_campaign_gets_on(site):
    kind = site.type(attempts=1)
    firmware = site.otad.firmware(kind, "2.0.0", ("a.bin", noise("two")), release="campaign")
    good, bad, liar, _idle = [site.device(kind, version="1.0.0") for _ in range(4)]
    wait(lambda: site.otad.ok("GET", f"/device-types/{kind}/versions")["devices"] == 4, "reports")
    number = campaign(site, kind, firmware)
    offer = good.offer()
    assert fetch(site.otad.port, offer["params"]["url"]).status == 200
    good.report(version="2.0.0")
    site.otad.wait_state(good.key, "verified")
    fail(bad, bad.offer())
    site.otad.wait_state(bad.key, "failed")
    liar.offer()
    liar.report(version="2.0.0")
    site.otad.wait_state(liar.key, "verified")

    def progress():
        return site.otad.ok("GET", f"/campaigns/{number}/progress")

    wait(lambda: progress()["ended"] == 3, "three have ended")
    got = progress()
    assert got["targets"] == {"devices": 4, "basis": "estimated"}
    assert (got["offered"], got["in_progress"], got["verified"], got["suspect"]) == (3, 0, 1, 1)
    assert (got["percent_ended"], got["percent_verified"]) == (75, 25)
    assert got["states"] == {"verified": 2, "failed": 1}
    assert got["bytes"] == 20000
    assert got["throughput"]["last_hour"]["failed"] == 1
    reasons = {r["reason"]: (r["state"], r["n"]) for r in got["reasons"]}
    assert reasons == {"suspect:no_bytes_served": ("verified", 1),
                       "reply:ota_result 1: connecting failed": ("failed", 1)}  # fmt: skip
    assert site.otad.updates(bad.key)[0]["reason"] == "reply:ota_result 1: connecting failed"
    assert got["forecast"]["why"] is None and got["forecast"]["remaining"] == 1
    assert got["forecast"]["ends_at"] > got["phases"][0]["opened_at"]
    assert got["phases"][0]["targets"] == 4
    line = site.otad.ok("GET", f"/campaigns/{number}/timeline?step=day")["points"][-1]
    assert (line["verified_total"], line["failed_total"], line["active"]) == (1, 1, 0)
    minutes = site.otad.ok("GET", f"/campaigns/{number}/timeline?step=minute")["points"]
    assert sum(p["offered"] for p in minutes) == 3
    assert site.otad.ok("GET", f"/campaigns/{number}/timeline?phase=1000")["points"] == []
    assert site.otad.rest("GET", f"/campaigns/{number}/timeline?step=year").status == 400
    # A listed one is counted; paused, it has no forecast.
    number = campaign(site, kind, firmware, targets={"devices": [good.key, bad.key], "deny": [bad.key]})  # fmt: skip
    site.otad.ok("POST", f"/campaigns/{number}/pause")
    got = progress()
    assert got["targets"] == {"devices": 1, "basis": "counted"}
    assert got["forecast"]["why"] == "not_running" and got["forecast"]["ends_at"] is None
    assert site.otad.rest("GET", "/campaigns/9999/progress").status == 404
