"""Campaigns that push: to devices that are there, to others at a sign of life; killed on the way."""
import concurrent.futures
import json
import time

import pytest

from otalib import Device, noise, path_of, request, wait


def draft(site, firmware, **fields):
    body = {"name": "push", "firmware": firmware["id"], "delivery": "push", **fields}
    return site.otad.ok("POST", "/campaigns", body)


def move(site, campaign, what, status=200, **body):
    answer = site.otad.rest("POST", f"/campaigns/{campaign['id']}/{what}", body)
    assert answer.status == status, answer
    return answer.json()


def release(site, kind, version="2.0.0"):
    return site.otad.firmware(kind, version, ("p.bin", noise(kind)), release="campaign")


def updates(site, campaign):
    return site.otad.ok("GET", f"/updates?campaign={campaign['id']}&limit=500")["items"]


def install(site, device, got):
    assert request(site.otad.port, "GET", path_of(got["params"]["url"])).status == 200
    device.report(version=got["params"]["version"])
    site.otad.wait_state(device.key, "verified")


def listen(device):
    """Keep every offer that it gets."""
    device.offers = []

    def took(_client, _data, m):
        body = json.loads(m.payload)
        if body.get("params", {}).get("upgrade"):
            device.offers.append(body)

    device.client.on_message = took
    return device


def offer(device):
    return wait(lambda: device.offers, f"{device.key} is offered something")[0]


@pytest.fixture
def plugged(make_site):
    return make_site(plugin=True)


def test_what_is_wrong_is_told(site):
    kind = site.type()
    firmware = release(site, kind)
    answer = site.otad.rest("POST", "/campaigns", {"name": "x", "firmware": firmware["id"], "delivery": "shout"})
    assert answer.status == 422 and answer.json()["errors"][0]["pointer"] == "/delivery"
    body = {"name": "x", "firmware": firmware["id"]}
    assert site.otad.ok("POST", "/campaigns", body)["delivery"] == "offer"


def test_it_is_pushed_once(site):
    """Those that spoke lately get it at once, a silent one at its first word; nobody twice."""
    kind = site.type(offline_delay_s=3600)
    firmware = release(site, kind)
    devices = [listen(site.device(kind, "1.0.0")) for _ in range(3)]
    late = listen(site.device(kind))  # never spoke: nothing is known of it
    other = listen(site.device(site.type(), "1.0.0"))
    c = draft(site, firmware)
    assert c["delivery"] == "push"
    move(site, c, "start")
    offers = [offer(d) for d in devices]
    assert len({o["id"] for o in offers}) == 3
    assert {u["cause"] for u in updates(site, c)} == {"campaign"}
    late.report(version="1.0.0")
    assert offer(late)["params"]["version"] == "2.0.0"
    for device in devices:
        device.report(signal=-70)  # signs of life: it has its offer
    for device, one in zip(devices, offers):
        install(site, device, one)
    site.otad.wait_state(late.key, "offered")
    assert [len(d.offers) for d in [*devices, late, other]] == [1, 1, 1, 1, 0]
    assert site.otad.metric("otad_campaign_pushes_total") >= 4
    move(site, c, "abort")


def test_phases_and_pace_hold(site):
    kind = site.type(offline_delay_s=3600)
    firmware = release(site, kind)
    devices = [listen(site.device(kind, "1.0.0")) for _ in range(4)]
    keys = [d.key for d in devices]
    c = draft(site, firmware, phases=[{"devices": keys[:1]}, {"percent": 100}], pacing={"in_progress": 2})
    move(site, c, "start")
    install(site, devices[0], offer(devices[0]))
    wait(lambda: sum(bool(d.offers) for d in devices[1:]) == 2, "two more have it")
    assert len(updates(site, c)) == 3
    first = next(d for d in devices[1:] if d.offers)
    install(site, first, first.offers[0])
    wait(lambda: all(d.offers for d in devices), "the last one follows")
    assert all(len(d.offers) == 1 for d in devices)
    move(site, c, "abort")


def test_it_ends_with_its_last_device(site):
    """By itself; told as an event and in the audit log."""
    kind = site.type(offline_delay_s=3600)
    firmware = release(site, kind)
    devices = [listen(site.device(kind, "1.0.0")) for _ in range(3)]
    c = draft(site, firmware, targets={"devices": [d.key for d in devices]})
    move(site, c, "start")
    for device in devices[:2]:
        install(site, device, offer(device))
    devices[2].publish("command_reply", {"method": "otaUpgrade", "params": {"ota_result": 1},
                                         "id": offer(devices[2])["id"]})  # fmt: skip
    path = f"/campaigns/{c['id']}"
    wait(lambda: site.otad.ok("GET", path)["counts"], "it is under way")
    assert site.otad.ok("GET", path)["state"] == "running"
    last = offer(devices[2])["id"]
    site.otad.rest("POST", f"/updates/{last}/cancel", {})
    done = wait(lambda: (got := site.otad.ok("GET", path))["state"] == "completed" and got, "it ends")
    assert done["reason"] == "all_ended" and done["waits_for"] is None and done["ended_at"]
    rows = site.otad.ok("GET", "/audit?limit=20")["items"]
    mine = [r for r in rows if r["action"] == "campaign.completed" and r["object"].endswith(path)]
    assert len(mine) == 1 and mine[0]["who"] == "otad"


def test_who_connects_gets_it(plugged):
    """Known to be away, it is not offered anything; when it comes back it need not say a word."""
    site = plugged
    kind = site.type()
    firmware = release(site, kind)
    device = site.device(kind, "1.0.0")
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["versions"], "the version is known")
    device.close()
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["online"] is False, "it is away")
    c = draft(site, firmware)
    move(site, c, "start")
    again = listen(site.connect(device.key))
    assert offer(again)["params"]["version"] == "2.0.0"
    move(site, c, "abort")


def test_killed_while_it_pushes(make_site):
    """Killed again and again: each device has one offer, and has got it."""
    site = make_site()
    otad = site.otad
    kind = site.type(offline_delay_s=3600)
    firmware = release(site, kind)
    n = 1500
    keys = [f"DU_many{i}" for i in range(n)]
    rows = "key,device_type\n" + "".join(f"{k},{kind}\n" for k in keys)
    otad.ok("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
    mouth = Device(site.broker, "otad", otad.password).connected()
    site.devices.append(mouth)
    got = {}

    def took(_client, _data, m):
        body = json.loads(m.payload)
        if body["params"].get("upgrade"):
            got.setdefault(m.topic.split("/")[1], []).append(body["id"])

    mouth.client.on_message = took
    mouth.client.subscribe("command_send/+", 1)
    for key in keys:
        mouth.client.publish(f"attributes/{key}", json.dumps({"version": "1.0.0"}), 1)
    wait(lambda: otad.ok("GET", f"/devices/{keys[-1]}")["last_seen_at"], "it is written who was seen")
    c = draft(site, firmware)
    move(site, c, "start")
    for part in (50, 300, 700):
        wait(lambda p=part: len(got) >= p, f"{part} have it")
        otad.kill()
        otad.start()
    wait(lambda: len(got) == n, "everybody has it", 120)
    for ids in got.values():
        assert len(set(ids)) == 1
    total = otad.ok("GET", f"/updates?campaign={c['id']}&limit=1&total=1")["total"]
    assert total == n
    assert len({ids[0] for ids in got.values()}) == n
    move(site, c, "abort")


def test_downloads_share_a_budget(site):
    """Two at once, of 200 kB: together no faster than declared, and whole."""
    kind = site.type(offline_delay_s=3600)
    data = noise(kind, 100_000)
    firmware = site.otad.firmware(kind, "2.0.0", ("p.bin", data), release="campaign")
    devices = [listen(site.device(kind, "1.0.0")) for _ in range(2)]
    c = draft(site, firmware, pacing={"kilobytes_per_second": 50})
    move(site, c, "start")
    links = [path_of(offer(d)["params"]["url"]) for d in devices]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda link: request(site.otad.port, "GET", link), links))
    took = time.monotonic() - began
    assert [g.body for g in got] == [data, data]
    assert took >= (200_000 - 12_500 - 2 * 16_384) / 50_000
    for device in devices:
        device.report(version="2.0.0")
        site.otad.wait_state(device.key, "verified")
    move(site, c, "abort")
