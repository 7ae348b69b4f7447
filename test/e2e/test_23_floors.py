"""Floors, deltas and devices that go in circles."""
from otalib import fetch, noise, path_of, wait


def download(site, offer):
    got = fetch(site.otad.port, path_of(offer["params"]["url"]))
    assert got.status == 200 and len(got.body) == offer["params"]["size"]


def flashed(site, device, offer):
    """It fetches the offer, and runs it."""
    download(site, offer)
    device.report(version=offer["params"]["version"])
    update = site.otad.wait_state(device.key, "verified")
    assert update["id"] == offer["id"]


def failed(site, device, offer):
    download(site, offer)
    site.otad.wait_state(device.key, "downloaded")
    device.publish("command_reply", {"method": "otaUpgrade", "id": offer["id"],
                                     "params": {"ota_result": 1}})  # fmt: skip
    wait(lambda: site.otad.ok("GET", f"/updates/{offer['id']}")["state"] in ("failed", "planned"),
         "the attempt failed")  # fmt: skip


def explain(site, device):
    said = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    return said, {r["version"] + ("d" if r["firmware"] in site.deltas else ""): r
                  for r in said["reasons"] if r["firmware"]}  # fmt: skip


def test_by_way_of_the_floor_and_a_delta_that_fails(site):
    kind = site.type()
    device = site.device(kind, "1.0")
    floor = site.otad.firmware(kind, "1.5", must_pass=True)
    assert floor["must_pass"] is True
    full = site.otad.firmware(kind, "2.0", ("full.bin", noise("full")))
    delta = site.otad.firmware(kind, "2.0", ("delta.bin", noise("delta", 5000)), source_versions=["1.5"])
    site.deltas = {delta["id"]}
    said, rows = explain(site, device)
    assert said["firmware"]["id"] == floor["id"]
    assert rows["2.0"]["code"] == "floor_first"
    assert rows["2.0"]["params"] == {"floor": floor["id"], "version": "1.5", "current": "1.0"}
    offer = device.offer()
    assert offer["params"]["version"] == "1.5"
    flashed(site, device, offer)
    offer = device.offer()
    assert offer["params"]["size"] == 5000, "the delta"
    failed(site, device, offer)
    again = device.offer()
    assert again["params"]["version"] == "2.0" and again["id"] != offer["id"]
    assert again["params"]["size"] == full["files"][0]["size"]
    history = site.otad.ok("GET", f"/updates/{offer['id']}")["history"]
    assert history[-1]["to"] == "failed" and "another file set" in history[-1]["text"]
    flashed(site, device, again)
    device.nothing()


def test_marked_while_the_offer_is_out(site):
    kind = site.type()
    device = site.device(kind, "1.0")
    floor = site.otad.firmware(kind, "1.5")
    site.otad.firmware(kind, "2.0")
    offer = device.offer()
    assert offer["params"]["version"] == "2.0"
    assert fetch(site.otad.port, path_of(offer["params"]["url"]), Range="bytes=0-9").status == 206
    site.otad.ok("PATCH", f"/firmwares/{floor['id']}", {"must_pass": True})
    assert fetch(site.otad.port, path_of(offer["params"]["url"])).status == 410
    instead = device.offer()
    assert instead["params"]["version"] == "1.5"
    old = site.otad.ok("GET", f"/updates/{offer['id']}")
    assert old["state"] == "canceled" and old["history"][-1]["cause"] == "floor_first"
    # what keeps the floor away lets nobody jump
    site.otad.ok("PATCH", f"/firmwares/{floor['id']}", {"enabled": False})
    device.nothing()
    gone = site.otad.rest("DELETE", f"/firmwares/{floor['id']}")
    assert gone.status == 409
    site.otad.ok("PATCH", f"/firmwares/{floor['id']}", {"must_pass": False})
    assert device.offer()["params"]["version"] == "2.0"


def test_a_campaign_tells_its_floors(site):
    kind = site.type()
    old = site.otad.firmware(kind, "1.0")
    floor = site.otad.firmware(kind, "1.5", must_pass=True)
    new = site.otad.firmware(kind, "2.0", ("full.bin", noise("f")), release="campaign")
    delta = site.otad.firmware(kind, "2.0", ("delta.bin", noise("d", 4000)), release="campaign",
                               source_versions=["1.5"])  # fmt: skip
    low, high = site.device(kind, "1.0"), site.device(kind, "1.5")
    body = {"name": "spring", "firmware": new["id"], "rollback_firmware": old["id"]}
    refused = site.otad.rest("POST", "/campaigns", body)
    assert refused.status == 422
    assert refused.json()["errors"][0]["pointer"] == "/rollback_firmware"
    body["rollback_firmware"] = floor["id"]
    made = site.otad.ok("POST", "/campaigns", body)
    assert made["floors"] == [{"firmware": floor["id"], "version": "1.5", "enabled": True}]
    dry = site.otad.ok("POST", f"/campaigns/{made['id']}/dry-run")
    assert {(c["phase"], c["reason"], c["n"]) for c in dry["counts"]} == {
        (None, "floor_first", 1), (1, "eligible", 1)}  # fmt: skip
    site.otad.ok("POST", f"/campaigns/{made['id']}/start")
    assert low.offer()["params"]["version"] == "1.5", "not by the campaign"
    offer = high.offer()
    assert offer["params"]["size"] == 4000, "the campaign uses the delta where it fits"
    update = site.otad.ok("GET", f"/updates/{offer['id']}")
    assert update["campaign"] == made["id"] and update["firmware"] == delta["id"]


def test_flapping(site):
    kind = site.type(flaps_per_day=2)
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    for n in range(2):
        flashed(site, device, device.offer())
        device.report(version="1.0")
        wait(lambda n=n: len([h for h in site.otad.wait_state(device.key, "verified")["history"]
                              if h["cause"] == "fell_back"]) == 1, "the fall-back is noted")  # fmt: skip
    device.nothing()
    shown = site.otad.ok("GET", f"/devices/{device.key}")
    assert shown["quarantined_until"]
    assert shown["quarantine"]["cause"] == "flapping"
    assert "between 2.0 and 1.0" in shown["quarantine"]["text"]
    said = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    assert said["reason"] == "quarantined"
    assert shown["quarantine"]["text"] in said["reasons"][0]["text"]
    site.otad.ok("POST", f"/devices/{device.key}/release", {})
    shown = site.otad.ok("GET", f"/devices/{device.key}")
    assert shown["quarantined_until"] is None and shown["quarantine"] is None
    device.offer()


def test_fetching_without_end(site):
    """Half of it, from the start, again and again: each attempt has an end, and so have they."""
    kind = site.type(attempts=1)
    data = noise("loop", 100_000)
    site.otad.firmware(kind, "2.0", ("fw.bin", data))
    device = site.device(kind, "1.0")
    url = path_of(device.offer()["params"]["url"])
    wait(lambda: fetch(site.otad.port, url, Range="bytes=0-49999").status == 410, "its link ends")
    update = site.otad.wait_state(device.key, "failed")
    assert "again and again" in update["history"][-1]["text"]
    device.nothing()
    said = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    assert said["reason"] == "attempts_exhausted"
