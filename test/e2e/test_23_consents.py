"""Consent of users: asked before anything is sent, answered with a token or by an application."""
import json

import pytest

from otalib import noise, path_of, request, wait
from test_14_app import login, make_app, signed
from watch import Stream

TEXTS = {
    "en": {"title": "A quieter fan", "notes": "Night mode.\nLess noise."},
    "zh-CN": {"title": "风扇更安静", "notes": "新增夜间模式"},
}
APP = {"mode": "app", "postpone_max": 1, "postpone_s": 3600}


class Ground:
    """A type, a firmware that asks, its campaign under way."""

    def __init__(self, site, consent=None, **fields):
        self.site, self.otad = site, site.otad
        self.kind = site.type(**fields.pop("type", {}))
        self.firmware = self.otad.firmware(self.kind, "2.0.0", ("a.bin", noise("c")), release="campaign")
        body = {"name": "quiet", "firmware": self.firmware["id"], "consent": consent or APP, "texts": TEXTS}
        self.campaign = self.otad.ok("POST", "/campaigns", {**body, **fields})
        self.path = f"/campaigns/{self.campaign['id']}"
        self.otad.ok("POST", f"{self.path}/start", {})

    def device(self, **more):
        device = self.site.device(self.kind, "1.0.0")
        if more:
            device.report(**more)
        return device

    def asked(self, device, language=None):
        """The question, after the device has asked for nothing less."""
        device.nothing()
        return self.pending(device, language)[0]

    def pending(self, device, language=None):
        headers = {"Accept-Language": language} if language else {}
        return self.otad.ok("GET", f"/devices/{device.key}/consents", headers=headers)["items"]

    def say(self, device, question, answer, status=200, **more):
        path = f"/devices/{device.key}/consents/{question['id']}"
        got = self.otad.rest("POST", path, {"answer": answer, **more})
        assert got.status == status, got
        return got.json()

    def reason(self, device):
        return self.otad.ok("GET", f"/devices/{device.key}/explain")["reason"]

    def move(self, what, status=200, **body):
        got = self.otad.rest("POST", f"{self.path}/{what}", body)
        assert got.status == status, got
        return got.json()

    def counts(self):
        return {c["state"]: c["n"] for c in self.otad.ok("GET", self.path)["counts"]}

    def install(self, device, offer):
        assert request(self.otad.port, "GET", path_of(offer["params"]["url"])).status == 200
        device.report(version="2.0.0")
        self.otad.wait_state(device.key, "verified")


@pytest.fixture
def ground(site):
    return Ground(site)


def test_a_yes_brings_the_offer_at_once(ground):
    device = ground.device(language="zh_CN")
    dry = ground.move("dry-run")
    assert dry["eligible"] == 0
    assert [(c["phase"], c["reason"]) for c in dry["counts"]] == [(1, "awaiting_consent")]
    assert ground.pending(device) == []  # nobody has looked at it yet
    question = ground.asked(device)
    assert question["title"] == TEXTS["zh-CN"]["title"] and question["language"] == "zh-CN"
    assert question["state"] == "asked" and question["version"] == "2.0.0"
    assert question["postponements_left"] == 1 and question["module"] == "main"
    assert ground.pending(device, "fr, en;q=0.5, zh;q=0.4")[0]["notes"] == TEXTS["en"]["notes"]
    assert ground.reason(device) == "awaiting_consent"
    assert ground.counts() == {"awaiting_consent": 1}
    progress = ground.otad.ok("GET", f"{ground.path}/progress")
    assert progress["states"] == {"awaiting_consent": 1} and progress["offered"] == 0
    said = ground.say(device, question, "confirm")
    assert said["state"] == "confirmed" and said["by"].startswith("token ")
    offer = device.receive()  # it did not ask
    assert offer["params"]["version"] == "2.0.0"
    assert ground.say(device, question, "confirm")["offered"] is True
    assert ground.say(device, question, "refuse", 409)["code"] == "already_offered"
    assert ground.pending(device) == []
    assert device.offer()["id"] == offer["id"]
    ground.install(device, offer)
    update = ground.otad.ok("GET", f"/updates/{offer['id']}")
    assert f"confirmed by {said['by']}" in update["history"][0]["text"]
    assert ground.counts() == {"verified": 1}
    whole = ground.otad.ok("GET", f"/devices/{device.key}/consents/{question['id']}")
    assert [h["state"] for h in whole["history"]] == ["asked", "confirmed"]
    watch = Stream(ground.otad, "?types=consent.*&after=0")
    told = [json.loads(e["data"]) for e in watch.until("consent.confirmed")]
    watch.close()
    assert [e["type"] for e in told if e["data"]["device"] == device.key] == [
        "consent.asked", "consent.confirmed"]  # fmt: skip


def test_later_and_no(ground):
    device, other = ground.device(), ground.device()
    question = ground.asked(device)
    later = ground.say(device, question, "postpone", postpone_s=600)
    assert later["state"] == "postponed" and later["until"] and later["postponements_left"] == 0
    assert ground.say(device, question, "postpone")["until"] == later["until"]
    device.nothing()
    row = ground.otad.ok("GET", f"/devices/{device.key}/explain")
    assert row["reason"] == "awaiting_consent" and row["retry_at"] == later["until"]
    ground.say(device, question, "confirm", 422, postpone_s=600)
    ground.say(device, question, "perhaps", 422)
    assert ground.say(device, question, "refuse")["state"] == "refused"
    device.nothing()
    assert ground.reason(device) == "consent_refused"
    assert ground.say(device, question, "confirm", 409)["code"] == "consent_refused"
    assert ground.counts() == {"consent_refused": 1}
    rows = ground.otad.ok("GET", f"{ground.path}/consents?state=refused")["items"]
    assert [r["device"] for r in rows] == [device.key]

    lift = f"/devices/{device.key}/consents/{question['id']}/lift"
    assert ground.otad.ok("POST", lift)["state"] == "asked"
    assert ground.otad.rest("POST", lift).json()["code"] == "not_refused"
    audit = ground.otad.ok("GET", "/audit?limit=20")["items"]
    assert any(a["action"].endswith("/lift") and a["before"]["state"] == "refused" for a in audit)
    stranger = ground.otad.rest("POST", f"/devices/{other.key}/consents/{question['id']}",
                                {"answer": "confirm"})  # fmt: skip
    assert stranger.status == 404
    ground.say(device, question, "confirm")
    assert device.receive()["params"]["upgrade"] is True


def test_a_yes_waits_for_the_campaign_and_survives_a_kill(ground):
    device, late = ground.device(), ground.device()
    question, other = ground.asked(device), ground.asked(late)
    ground.move("pause")
    ground.otad.kill()
    ground.otad.start()
    ground.say(device, question, "confirm")
    ground.otad.kill()
    ground.otad.start()
    device.nothing()
    assert ground.counts() == {"awaiting_consent": 1, "consent_confirmed": 1}
    seen = device.sessions
    assert ground.otad.updates(device.key) == []
    ground.move("resume")
    assert device.receive()["params"]["version"] == "2.0.0"
    assert device.sessions == seen
    ground.move("abort")
    assert ground.say(late, other, "confirm", 409)["code"] == "campaign_ended"
    assert ground.pending(late) == []


def test_a_question_that_is_moot_is_not_shown(ground):
    device = ground.device()
    question = ground.asked(device)
    device.report(version="2.0.0")  # somebody else was quicker
    wait(lambda: ground.pending(device) == [], "nothing is asked any more")
    everything = ground.otad.ok("GET", f"/devices/{device.key}/consents?all=1")["items"]
    assert [q["id"] for q in everything] == [question["id"]]


def test_an_application_asks_with_its_own_credentials(ground):
    site, port = ground.site, ground.otad.port
    app = make_app(site, live=False)
    device = ground.device()
    question = ground.asked(device)
    path = f"/api/devices/{device.key}/consents"
    language = {"Accept-Language": "zh"}
    got = request(port, "GET", path, headers={**signed(app), **language})
    assert got.status == 200 and got.json()["items"][0]["title"] == TEXTS["zh-CN"]["title"]
    assert request(port, "GET", path, headers=signed(app, signature="0" * 32)).status == 401
    token = login(site, app["app_key"], app["app_secret"]).json()["token"]
    body = json.dumps({"answer": "confirm"})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    assert request(port, "POST", f"{path}/{question['id']}", body).status == 401
    answer = request(port, "POST", f"{path}/{question['id']}", body, headers)
    assert answer.status == 200 and answer.json()["by"] == f"application {app['app_key']}", answer
    assert device.receive()["params"]["version"] == "2.0.0"


def test_the_device_asks_its_user(site):
    ground = Ground(
        site,
        {"mode": "device", "postpone_max": 1, "postpone_s": 3600},
        type={"progress": {"event": "otaState", "id_field": "id",
                           "states": {w: w for w in ("deferred", "accepted", "rejected")}}},
    )  # fmt: skip
    device, other, third = ground.device(), ground.device(), ground.device()

    def tell(device, offer, state):
        device.publish("event_report", {"method": "otaState", "params": {"id": offer["id"], "state": state}})
        ground.otad.wait_state(device.key, state)

    offer = device.offer()
    tell(device, offer, "deferred")
    device.nothing()
    assert ground.reason(device) == "awaiting_consent"
    assert ground.otad.ok("GET", ground.path)["in_progress"] == 0
    tell(device, offer, "accepted")
    ground.install(device, offer)

    refusal = other.offer()
    tell(other, refusal, "rejected")
    other.nothing()
    assert ground.reason(other) == "consent_refused"

    silent = third.offer()
    ground.install(third, silent)
    history = ground.otad.ok("GET", f"/updates/{silent['id']}")["history"]
    assert any("counts as consent" in h["text"] for h in history)


def test_what_is_wrong_is_told(site):
    kind = site.type()
    firmware = site.otad.firmware(kind, "2.0.0", release="campaign")

    def refused(pointer, **fields):
        answer = site.otad.rest("POST", "/campaigns", {"name": "x", "firmware": firmware["id"], **fields})
        assert answer.status == 422, answer
        assert pointer in [e["pointer"] for e in answer.json()["errors"]], answer

    refused("/texts", consent={"mode": "app"})
    refused("/consent/mode", consent={"mode": "ask"})
    refused("/texts/en_US", consent={"mode": "app"}, texts={"en_US": {"title": "x"}})
    refused("/texts/en/notes", texts={"en": {"title": "x", "notes": "y" * 4001}})
    drafted = site.otad.ok("POST", "/campaigns", {"name": "x", "firmware": firmware["id"],
                                                  "consent": APP, "texts": TEXTS})  # fmt: skip
    assert drafted["consent"] == APP and drafted["texts"] == TEXTS
    path = f"/campaigns/{drafted['id']}"
    assert site.otad.rest("PATCH", path, {"texts": None}).status == 422
    site.otad.ok("POST", f"{path}/start", {})
    texts = {"de": {"title": "Leiser"}}
    assert site.otad.ok("PATCH", path, {"texts": texts})["texts"] == texts
    assert site.otad.rest("PATCH", path, {"consent": None}).json()["code"] == "immutable"
    site.otad.ok("POST", f"{path}/abort", {})
