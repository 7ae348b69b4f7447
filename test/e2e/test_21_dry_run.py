"""A dry run says what the campaign would do: page by page, and also while it runs."""
import json
import signal
import socket
import threading

import pytest

from otalib import noise, path_of, raw, request, split
from test_21_campaigns import Fleet, move


class Ground:
    def __init__(self, site, n):
        self.site, self.otad = site, site.otad
        self.kind = site.type(attempts=1)
        self.old = site.otad.firmware(self.kind, "1.0.0", ("o.bin", noise("old")), release="campaign")
        self.new = site.otad.firmware(self.kind, "2.0.0", ("n.bin", noise("new")), release="campaign")
        self.fleet = Fleet(site, self.kind, n)

    def campaign(self, firmware=None, **fields):
        body = {"name": "dry", "firmware": (firmware or self.new)["id"], **fields}
        return self.otad.ok("POST", "/campaigns", body)

    def dry(self, campaign, **body):
        page = move(self, campaign, "dry-run", **body)
        return {(r["phase"], r["reason"]): r["n"] for r in page["counts"]}, page


@pytest.fixture
def ground(module_site):
    return Ground(module_site, 20)


def pages(ground, campaign, limit):
    total, devices, after = {}, 0, None
    while True:
        counts, page = ground.dry(campaign, limit=limit, **({"after": after} if after else {}))
        for k, n in counts.items():
            total[k] = total.get(k, 0) + n
        devices += page["devices"]
        after = page["next"]
        if not after:
            return total, devices


def test_pages_over_phases_by_count_add_up(ground):
    c = ground.campaign(phases=[{"count": 3}, {"count": 6}, {"percent": 100}])
    whole, page = ground.dry(c)
    assert whole == {(1, "eligible"): 3, (2, "eligible"): 6, (3, "eligible"): 11} and not page["next"]
    for limit in (1, 2, 7):
        assert pages(ground, c, limit) == (whole, 20), limit


def test_what_is_offered_already_counts(ground):
    c = ground.campaign(phases=[{"count": 3}, {"percent": 100}])
    move(ground, c, "start")
    for key in ground.fleet.keys[:2]:
        ground.fleet.install(key, ground.fleet.ask(key), True)
    counts, _ = ground.dry(c)
    assert counts == {(None, "not_newer"): 2, (1, "eligible"): 1, (2, "eligible"): 17}
    assert pages(ground, c, 4) == (counts, 20)


def test_a_frozen_campaign_is_not_for_later_devices(ground):
    c = ground.campaign(targets={"frozen": True})
    later = lambda: ground.otad.ok("POST", "/devices", {  # noqa: E731
        "key": ground.site.name("DU_late"), "device_type": ground.kind})  # fmt: skip
    later()
    assert ground.dry(c)[0] == {(1, "eligible"): 20, (None, "version_unknown"): 1}
    move(ground, c, "start")
    later()
    assert ground.dry(c)[0] == {
        (1, "eligible"): 20, (None, "version_unknown"): 1, (None, "not_in_device_list"): 1}  # fmt: skip


def test_what_is_not_newer_goes_once(ground):
    c = ground.campaign(ground.old, allow_reinstall=True)
    assert ground.dry(c)[0] == {(1, "eligible"): 20}
    move(ground, c, "start")
    fleet, key = ground.fleet, ground.fleet.keys[0]
    offer = fleet.ask(key)
    assert request(ground.otad.port, "GET", path_of(offer["params"]["url"])).status == 200
    fleet.say("command_reply", key, {"method": "otaUpgrade", "params": {"ota_result": 0}, "id": offer["id"]})
    fleet.say("attributes", key, {"version": "1.0.0"})
    ground.otad.wait_state(key, "verified")
    assert fleet.ask(key) is None
    assert ground.dry(c)[0] == {(None, "not_newer"): 1, (1, "eligible"): 19}


def test_whose_user_is_asked_has_its_place(ground):
    c = ground.campaign(phases=[{"count": 2}, {"percent": 100}], consent={"mode": "app"},
                        texts={"en": {"title": "t"}})  # fmt: skip
    before = {(1, "awaiting_consent"): 2, (2, "awaiting_consent"): 18}
    assert ground.dry(c)[0] == before
    move(ground, c, "start")
    last = ground.fleet.keys[-1]
    assert ground.fleet.ask(last) is None
    (asked,) = ground.otad.ok("GET", f"/devices/{last}/consents")["items"]
    assert ground.dry(c)[0] == before, "the last one has a place in phase 1"
    ground.otad.ok("POST", f"/devices/{last}/consents/{asked['id']}", {"answer": "confirm"})
    assert ground.dry(c)[0] == {(1, "eligible"): 1, (1, "awaiting_consent"): 1,
                                (2, "awaiting_consent"): 18}  # fmt: skip
    assert pages(ground, c, 3)[0] == ground.dry(c)[0]


def test_a_wrong_cursor_is_told(ground):
    c = ground.campaign(phases=[{"count": 3}])
    for wrong in ("x", "1.", "1.2.3.4", "1.-1", "-1", "1.x", "1..2"):
        answer = ground.otad.rest("POST", f"/campaigns/{c['id']}/dry-run", {"after": wrong})
        assert answer.status == 422 and answer.json()["code"] == "validation_failed", (wrong, answer)
    assert ground.otad.rest("POST", "/campaigns/999999999/dry-run").status == 404


def test_others_are_answered_meanwhile(make_site):
    """One http thread, and a dry run over thousands of devices: what comes after it is answered
    before it."""
    site = make_site({"http.threads": 1})
    otad, kind = site.otad, site.type()
    rows = "key,device_type\n" + "".join(f"DU_many{i},{kind}\n" for i in range(8000))
    otad.ok("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
    new = otad.firmware(kind, "2.0.0")
    c = otad.ok("POST", "/campaigns", {"name": "many", "firmware": new["id"]})
    body = json.dumps({"limit": 100000})
    ask = (f"POST /api/v1/campaigns/{c['id']}/dry-run HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
           f"Authorization: Bearer {otad.admin}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()  # fmt: skip
    first = False
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", otad.port)) as s:
            s.sendall(ask)
            for _ in range(3):
                assert request(otad.port, "GET", "/healthz").status == 200
            s.setblocking(False)
            try:
                s.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                first = True
            s.setblocking(True)
            got = b""
            while piece := s.recv(65536):
                got += piece
        status, _, answer = split(got)
        assert status.split()[1] == "200" and json.loads(answer)["devices"] == 8000
        if first:
            break
    assert first, "none of the others was answered before it"
    # as many as want to at once: done, or told to come later
    seen = []
    many = [threading.Thread(target=lambda: seen.append(split(raw(otad.port, ask))[0].split()[1]))
            for _ in range(12)]  # fmt: skip
    for t in many:
        t.start()
    for t in many:
        t.join()
    assert len(seen) == 12 and "200" in seen and set(seen) <= {"200", "429"}, seen
    assert request(otad.port, "GET", "/healthz").status == 200


def test_a_stop_does_not_wait_for_it(make_site):
    """Nor does it cut it off without a word: it is told that otad stops, or has its answer."""
    site = make_site({"http.threads": 1})
    otad, kind = site.otad, site.type()
    rows = "key,device_type\n" + "".join(f"DU_many{i},{kind}\n" for i in range(20000))
    otad.ok("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
    c = otad.ok("POST", "/campaigns", {"name": "many", "firmware": otad.firmware(kind, "2.0.0")["id"]})
    body = json.dumps({"limit": 100000})
    ask = (f"POST /api/v1/campaigns/{c['id']}/dry-run HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
           f"Authorization: Bearer {otad.admin}\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()  # fmt: skip
    told = False
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", otad.port)) as s:
            s.sendall(ask)
            assert request(otad.port, "GET", "/healthz").status == 200  # so it has begun
            otad.process.send(signal.SIGTERM)
            got = b""
            while piece := s.recv(65536):
                got += piece
        assert otad.stop() == 0, otad.logs()[-2000:]
        status, _, answer = split(got)
        told = status.split()[1] == "503"
        assert told or json.loads(answer)["devices"] == 20000, got
        otad.start()
        if told:
            break
    assert told, "each was over before the stop was seen"
    assert otad.ok("GET", f"/campaigns/{c['id']}")["state"] == "draft"
