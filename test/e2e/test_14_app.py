"""The application side: signed requests, commands and attributes for one device, live topics."""
import argparse
import contextlib
import hashlib
import http.client
import json
import threading
import time

import pytest
from conftest import Site
from otalib import request, wait
from test_13_plugin import DENIED, Client


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    """With the plugin, where logins work at once."""
    site = Site(tmp_path_factory.mktemp("plugin"), plugin=True)
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    yield site
    site.close()


@pytest.fixture(scope="module")
def plain_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("plain"))
    yield site
    site.close()


@pytest.fixture(params=["plugin", "plain"])
def either(request):
    """A site with and one without the plugin."""
    site = request.getfixturevalue("module_site" if request.param == "plugin" else "plain_site")
    yield site
    site.release()


def make_app(site, project="default", live=True):
    app = site.otad.ok("POST", f"/projects/{project}/app")
    site.otad.ok("PATCH", f"/projects/{project}/app", {"live_topics": live})
    return app


def signed(app, at=None, **changes):
    stamp = str(int(at or time.time()))
    signature = hashlib.md5((stamp + app["app_token"]).encode()).hexdigest()
    return {"user": app["app_key"], "timestamp": stamp, "signature": signature, **changes}


def down_attr(site, device, headers, attrs='{"attr1": "off", "attr2": 26}', slash="/"):
    body = json.dumps({"attrs": attrs}) if isinstance(attrs, str) else json.dumps(attrs)
    headers = {"Content-Type": "application/json", **headers}
    return request(site.otad.port, "POST", f"/api/devices/{device}/down_attr{slash}", body, headers)


def login(site, user, password):
    body = json.dumps({"username": user, "password": password})
    return request(site.otad.port, "POST", "/api_login/", body)


def fast(site, **fields):
    return site.type(**{"down_interval_ms": 0, "reply_wait_ms": 200, **fields})


def connect(site, kind):
    """A device that otad knows to be there."""
    device = site.device(kind)
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["online"] is not False, "online")
    return device


def child(site, form, as_list=False):
    """A gateway that connected a device behind it, in one of the forms."""
    gateway = connect(site, fast(site))
    inner = site.name("SD_e2e")
    site.otad.ok("POST", "/devices", {"key": inner, "device_type": fast(site, reply_wait_ms=60000),
                                      "gateway": gateway.key, "address": "A1"})  # fmt: skip
    topics = [(f"{form}_{t}/{gateway.key}", 1) for t in ("command_send", "attributes_push")]
    seen = gateway.sessions
    gateway.client.subscribe(topics)
    wait(lambda: gateway.sessions > seen, "subscribed")
    address = ["A1"] if as_list else "A1"
    gateway.publish(f"{form}_connect", {"device": address})
    wait(lambda: site.otad.ok("GET", f"/devices/{inner}")["online"], "the child is online")
    return gateway, inner, address


class Ask(threading.Thread):
    """A request that waits for its answer."""

    def __init__(self, site, path, body):
        super().__init__(daemon=True)
        self.site, self.path, self.body, self.answer = site, path, body, None
        self.start()

    def run(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.answer = self.site.otad.rest("POST", self.path, self.body)

    def get(self):
        self.join(60)
        return self.answer


# ---- the HTTPS API ----


def test_signed_requests_reach_a_device(site):
    app = make_app(site, live=False)
    device = connect(site, fast(site))
    assert down_attr(site, device.key, signed(app)).json() == {"result": 0}
    assert device.receive("attributes_push") == {"attr1": "off", "attr2": 26}
    for at in (time.time() - 7000, time.time() + 7000):
        assert down_attr(site, device.key, signed(app, at), slash="").status == 200
        device.receive("attributes_push")
    for wrong in (signed(app, time.time() - 7300), signed(app, time.time() + 7300),
                  signed(app, signature="0" * 32), signed(app, user="PR_0000000000"),
                  signed(app, timestamp="1626969655"), {}):  # fmt: skip
        assert down_attr(site, device.key, wrong).status == 401
    assert down_attr(site, "DU_nobody", signed(app)).status == 404
    for odd in ("[1]", "{}", "no JSON", {"attrs": {"a": 1}}, {}):
        assert down_attr(site, device.key, signed(app), odd).status in (400, 422), odd


def test_a_login_lasts_until_the_secrets_change(site):
    app = make_app(site, live=False)
    device = connect(site, fast(site))
    assert login(site, app["app_key"], "wrong").status == 401
    first = login(site, app["app_key"], app["app_secret"]).json()
    assert first["result"] == 0
    bearer = {"Authorization": f"Bearer {first['token']}"}
    assert down_attr(site, device.key, bearer).status == 200
    device.receive("attributes_push")
    # it opens nothing else, and an operator's token is none of theirs
    assert site.otad.rest("GET", "/devices", token=first["token"]).status == 401
    forged = {"Authorization": f"Bearer {first['token'][:-2]}AA"}
    assert down_attr(site, device.key, forged).status == 401
    again = site.otad.ok("POST", "/projects/default/app")
    assert again["app_key"] == app["app_key"] and again["app_token"] != app["app_token"]
    assert down_attr(site, device.key, bearer).status == 401
    assert down_attr(site, device.key, signed(app)).status == 401
    assert down_attr(site, device.key, signed(again)).status == 200
    shown = site.otad.ok("GET", "/projects/default/app")
    assert not any(k in shown for k in ("app_secret", "app_token", "secret_hash", "token"))


def test_the_audit_log_names_the_application(site):
    app = make_app(site, live=False)
    device = connect(site, fast(site))
    assert down_attr(site, device.key, signed(app)).status == 200
    (row, *_) = site.otad.ok("GET", "/audit?limit=1")["items"]
    assert row["action"] == "POST /api/devices/:key/down_attr/"
    assert (row["who"], row["token_id"]) == (f"application {app['app_key']}", 0)
    site.otad.ok("POST", f"/devices/{device.key}/release")
    assert site.otad.ok("GET", "/audit?limit=1")["items"][0]["who"] == "OTAD_ADMIN_TOKEN"


def test_projects_are_apart(site):
    app = make_app(site, live=False)
    key = site.name("proj")
    other = site.otad.ok("POST", "/projects", {"key": key, "name": key})
    stranger = make_app(site, key)
    device = connect(site, fast(site))
    assert down_attr(site, device.key, signed(stranger)).status == 404
    assert down_attr(site, device.key, signed(app)).status == 200
    # nobody may take the name of another's applications
    kind = {"key": "t", "name": "t"}
    site.otad.ok("POST", "/device-types", kind, token=other["token"])
    answer = site.otad.rest("POST", "/devices", {"key": app["app_key"], "device_type": "t"},
                            token=other["token"])  # fmt: skip
    assert answer.status == 422 and "applications" in answer.json()["errors"][0]["detail"]
    assert site.otad.rest("GET", "/projects/default/app", token=other["token"]).status == 403


# ---- commands over REST ----


def test_a_command_and_its_reply(site):
    device = connect(site, site.type(down_interval_ms=0))
    ask = Ask(site, f"/devices/{device.key}/commands",
              {"method": "set", "params": {"led": 1}, "wait": 50000})  # fmt: skip
    command = device.receive()
    assert command["method"] == "set" and command["params"] == {"led": 1}
    device.publish("command_reply", {"method": "set", "params": {"done": True}, "id": command["id"]})
    answer = ask.get()
    body = answer.json()
    assert answer.status == 200 and body["state"] == "replied" and body["reply"] == {"done": True}
    assert body["message_id"] == command["id"] and body["attempts"] == 1
    assert site.otad.ok("GET", f"/devices/{device.key}/commands/{body['id']}") == body
    # without waiting; and what is asked again with the same key is not sent again
    headers = {"Idempotency-Key": device.key}
    for _ in range(2):
        answer = site.otad.rest("POST", f"/devices/{device.key}/commands", {"method": "x"}, headers=headers)
        assert answer.status == 202 and answer.json()["state"] == "queued"
    assert device.receive()["method"] == "x"
    listed = site.otad.ok("GET", f"/devices/{device.key}/commands")["items"]
    assert [m["method"] for m in listed] == ["set", "x"]


def test_without_a_reply_it_is_sent_again_and_given_up(site):
    device = connect(site, fast(site))
    ask = Ask(site, f"/devices/{device.key}/commands", {"method": "x", "wait": 50000})
    sent = [device.receive() for _ in range(3)]
    assert sent[0] == sent[1] == sent[2]
    answer = ask.get()
    assert answer.status == 202
    assert answer.json()["state"] == "timed_out" and answer.json()["attempts"] == 3
    assert device.inbox.empty()
    # better late than never
    device.publish("command_reply", {"method": "x", "params": {}, "id": sent[0]["id"]})
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}/commands/{answer.json()['id']}")["state"]
         == "replied", "the late reply counts")  # fmt: skip


def test_messages_keep_their_distance(site):
    device = connect(site, site.type(down_interval_ms=300))
    ids = [site.otad.ok("POST", f"/devices/{device.key}/attributes", {"attributes": {"n": n}})["id"]
           for n in range(3)]  # fmt: skip
    assert [device.receive("attributes_push")["n"] for _ in range(3)] == [0, 1, 2]
    path = f"/devices/{device.key}/commands"
    rows = wait(lambda: (r := site.otad.ok("GET", path)["items"]) and r[-1]["sent_at"] and r, "sent")
    assert [r["id"] for r in rows] == ids and {r["state"] for r in rows} == {"sent"}
    at = [float(r["sent_at"][17:23]) for r in rows]
    assert all((b - a) % 60 >= 0.3 for a, b in zip(at, at[1:])), at


def test_too_much_or_wrong_is_refused(site):
    device = connect(site, site.type(down_interval_ms=60000))
    path = f"/devices/{device.key}"
    for body in ({}, {"method": ""}, {"method": None}, {"method": "x", "params": []},
                 {"method": "x", "wait": 60000}, {"methd": "x"}):  # fmt: skip
        assert site.otad.rest("POST", f"{path}/commands", body).status == 422, body
    for body in ({}, {"attributes": {}}, {"attributes": 1}):
        assert site.otad.rest("POST", f"{path}/attributes", body).status == 422, body
    big = {"attributes": {"x": "y" * 33000}}
    assert site.otad.rest("POST", f"{path}/attributes", big).status == 413
    assert site.otad.rest("POST", "/devices/nobody/commands", {"method": "x"}).status == 404
    codes = [site.otad.rest("POST", f"{path}/attributes", {"attributes": {"n": 1}}).status
             for _ in range(103)]  # fmt: skip
    assert codes[:100] == [202] * 100 and codes[-1] == 429, codes
    site.otad.ok("PATCH", path, {"enabled": False})
    answer = site.otad.rest("POST", f"{path}/commands", {"method": "x"})
    assert answer.status == 409 and answer.json()["code"] == "device_disabled"


@pytest.mark.parametrize("form, as_list", [("gateway", False), ("sub", True)])
def test_behind_a_gateway(site, form, as_list):
    gateway, inner, address = child(site, form, as_list)
    ask = Ask(site, f"/devices/{inner}/commands", {"method": "set", "wait": 50000})
    said = gateway.receive(f"{form}_command_send")
    assert said["device"] == address and said["command"]["method"] == "set"
    gateway.publish(f"{form}_command_reply", {
        "device": address, "command": {"method": "set", "params": {"a": 1}, "id": said["id"]}})  # fmt: skip
    assert ask.get().json()["reply"] == {"a": 1}
    site.otad.ok("POST", f"/devices/{inner}/attributes", {"attributes": {"k": 1}})
    said = gateway.receive(f"{form}_attributes_push")
    assert said == {"device": address, "attributes": {"k": 1}}
    gateway.publish(f"{form}_disconnect", {"device": address})
    wait(lambda: site.otad.ok("GET", f"/devices/{inner}")["online"] is False, "it is offline")
    answer = site.otad.rest("POST", f"/devices/{inner}/commands", {"method": "set"})
    assert answer.status == 409 and answer.json()["code"] == "device_offline"


def test_a_command_outlives_a_crash(make_site):
    site = make_site(plugin=True)
    device = connect(site, site.type(reply_wait_ms=600000))
    done = site.otad.ok("POST", f"/devices/{device.key}/commands", {"method": "x"})
    command = device.receive()
    site.otad.kill()
    device.publish("command_reply", {"method": "x", "params": {"a": 1}, "id": command["id"]})
    site.otad.start()
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}/commands/{done['id']}")["reply"]
         == {"a": 1}, "the reply is matched")  # fmt: skip


def test_who_waits_does_not_hold_up_the_end(make_site):
    site = make_site(plugin=True)
    device = connect(site, site.type())
    ask = Ask(site, f"/devices/{device.key}/commands", {"method": "x", "wait": 50000})
    device.receive()
    assert site.otad.stop() == 0
    assert ask.get() is None or ask.answer.status in (202, 503)


# ---- applications over MQTT ----


def application(site, app):
    return Client(site, app["app_key"], app["app_secret"]).connected()


def heard(client, *what):
    """The next messages, in whatever order, as {what: payload}; presence only when asked for."""
    got = {}
    while set(got) != set(what):
        topic, body = client.next()
        name = topic.split("/")[-1]
        if name in what:
            got[name] = body
    return got


def test_what_devices_say_is_heard_when_it_is_wanted(either):
    site = either
    app = make_app(site, live=False)
    client = application(site, app)
    device = connect(site, fast(site, reply_wait_ms=60000))
    base = f"open/{app['app_key']}/{device.key}"
    assert client.subscribe(f"open/{app['app_key']}/+/+")[0] < 0x80
    before = site.otad.metric("otad_live_messages_total")
    device.report(t=0)
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["attributes"] == {"t": 0}, "stored")
    assert site.otad.metric("otad_live_messages_total") == before
    assert client.inbox.empty()
    site.otad.ok("PATCH", "/projects/default/app", {"live_topics": True})
    device.report(t=1, version="1.0.0")
    assert heard(client, "attributes") == {"attributes": {"t": 1, "version": "1.0.0"}}
    device.report(t=1, version="1.0.0")  # no news for the database, but for who listens
    assert heard(client, "attributes") == {"attributes": {"t": 1, "version": "1.0.0"}}
    assert client.message.topic == f"{base}/attributes" and client.message.qos == 0
    device.check()
    assert heard(client, "event_report") == {"event_report": {"method": "otaCheck", "params": {}}}
    # a command with the application's own id, which comes back
    client.publish(f"{base}/command_send", {"method": "set", "params": {"a": 1}, "id": "mine-1"})
    command = device.receive()
    assert command["method"] == "set" and isinstance(command["id"], int)
    device.publish("command_reply", {"method": "set", "params": {"b": 2}, "id": command["id"]})
    assert heard(client, "command_reply") == {
        "command_reply": {"method": "set", "params": {"b": 2}, "id": "mine-1"}}  # fmt: skip
    client.publish(f"{base}/attributes_push", {"led": "on"})
    assert device.receive("attributes_push") == {"led": "on"}
    assert heard(client, "attributes") == {"attributes": {"led": "on"}}
    # nonsense harms nobody
    refused = site.otad.metric("otad_device_messages_refused_total")
    for topic, body in ((f"{base}/command_send", "no JSON"), (f"{base}/attributes_push", "{}"),
                        (f"open/{app['app_key']}/DU_nobody/attributes_push", '{"a": 1}')):  # fmt: skip
        client.publish(topic, body)
    wait(lambda: site.otad.metric("otad_device_messages_refused_total") == refused + 3, "refused")


def test_an_application_reaches_its_own_project_only(either):
    site = either
    app = make_app(site)
    key = site.name("proj")
    site.otad.ok("POST", "/projects", {"key": key, "name": key})
    stranger = application(site, make_app(site, key))
    device = connect(site, fast(site))
    base = f"open/{app['app_key']}"
    for topic in (f"{base}/+/attributes", f"{base}/#", "open/#", "#", "open/+/+/attributes",
                  f"attributes/{device.key}"):  # fmt: skip
        codes = stranger.subscribe(topic)
        assert codes[0] in DENIED or site.broker.told, topic  # mosquitto's file judges at delivery
    stranger.publish(f"{base}/{device.key}/attributes_push", {"evil": 1})
    stranger.publish(f"{base}/{device.key}/attributes", {"evil": 1})
    stranger.publish(f"attributes_push/{device.key}", {"evil": 1})
    other = stranger.c._username.decode()
    stranger.publish(f"open/{other}/{device.key}/attributes_push", {"evil": 1})  # not its device
    # a device is no application
    device.client.publish(f"{base}/{device.key}/attributes_push", '{"evil": 2}', 1)
    device.client.publish(f"open/{device.key}/{device.key}/attributes_push", '{"evil": 2}', 1)
    listener = application(site, app)
    listener.subscribe(f"{base}/{device.key}/attributes")
    device.report(t=1)
    assert heard(listener, "attributes") == {"attributes": {"t": 1}}
    listener.publish(f"{base}/{device.key}/attributes_push", {"good": 1})
    assert device.receive("attributes_push") == {"good": 1}
    while not stranger.inbox.empty():  # what it said itself
        assert stranger.next()[0].startswith(f"open/{other}/")
    assert site.otad.ok("GET", f"/devices/{device.key}/commands")["items"][0]["attributes"] == {"good": 1}


def test_behind_a_gateway_for_applications(site):
    app = make_app(site)
    client = application(site, app)
    client.subscribe(f"open/{app['app_key']}/+/+")
    gateway, inner, address = child(site, "sub", True)
    base = f"open/{app['app_key']}/{inner}"
    said = {}
    while said.get("topic") != f"{base}/online":
        said["topic"], said["body"] = client.next()
    assert said["body"] == {"online": True}
    gateway.publish("sub_attributes", {"A1": {"attributes": {"t": 5}}})
    while said["topic"] != f"{base}/attributes":
        said["topic"], said["body"] = client.next()
    assert said["body"] == {"t": 5}
    client.publish(f"{base}/command_send", {"method": "set", "id": 7})
    command = gateway.receive("sub_command_send")
    assert command["device"] == address
    gateway.publish("sub_command_reply", {"device": address, "command": {
        "method": "set", "params": {}, "id": command["id"]}})  # fmt: skip
    while said["topic"] != f"{base}/command_reply":
        said["topic"], said["body"] = client.next()
    assert said["body"] == {"method": "set", "params": {}, "id": 7}


def test_who_stands_behind_goes_with_the_gateway(either):
    """Told offline when the gateway is gone, and online again when it speaks of them."""
    site = either
    app = make_app(site)
    client = application(site, app)
    gateway = connect(site, fast(site, offline_delay_s=1))
    kind = site.type(auto_create=True)
    gateway.publish("sub_connect", {"device": ["A"], "product": kind})
    for path in (["A", "B"], ["C"], ["D"]):
        gateway.publish("sub_connect", {"device": path, "product": kind})
    gateway.publish("sub_disconnect", {"device": ["D"]})
    keys = {}

    def known():
        items = [i for i in site.otad.ok("GET", "/devices?limit=500")["items"] if i["device_type"] == kind]
        keys.update({i["address"]: i["key"] for i in items})
        return {i["address"]: i["online"] for i in items} == {"A": True, "B": True, "C": True, "D": False}

    wait(known, "all are there")
    client.subscribe(f"open/{app['app_key']}/+/online")

    def told(*want):
        """These, in any order, and nothing else of these devices."""
        want, names = list(want), {v: k for k, v in keys.items()} | {gateway.key: "gateway"}
        while want:
            topic, body = client.next()
            name = names.get(topic.split("/")[2])
            if name:
                want.remove((name, body["online"]))  # noqa: B909

    gateway.close()
    told(("gateway", False), ("A", False), ("B", False), ("C", False))
    gateway = site.connect(gateway.key)
    gateway.publish("sub_attributes", {"A": {"attributes": {"t": 1}}})
    told(("gateway", True), ("A", True))
    gateway.publish("sub_connect", {"device": ["A", "B"]})  # no news for the row
    told(("B", True))
    gateway.publish("sub_disconnect", {"device": ["C"]})
    told(("C", False))


def test_presence_for_applications(either):
    """By the plugin's word, or by signs of life."""
    site = either
    app = make_app(site)
    client = application(site, app)
    device = connect(site, fast(site, offline_delay_s=1))
    client.subscribe(f"open/{app['app_key']}/{device.key}/online")
    if site.broker.told:
        device.report(t=1)
        assert client.next()[1] == {"online": True}
        assert client.next()[1] == {"online": False}  # it is silent
        device.report(t=2)
        assert client.next()[1] == {"online": True}
    else:
        device.close()
        assert client.next()[1] == {"online": False}
        device = site.connect(device.key)
        assert client.next()[1] == {"online": True}
        # known to be away: nothing is sent to it
        device.close()
        assert client.next()[1] == {"online": False}
        answer = site.otad.rest("POST", f"/devices/{device.key}/commands", {"method": "x"})
        assert answer.status == 409 and answer.json()["code"] == "device_offline"


def test_new_secrets_end_connections_at_once(site):
    app = make_app(site)
    client = application(site, app)
    again = make_app(site)
    wait(lambda: client.downs > 0 and client.refused, "the old secret is out")
    client.close()
    client = application(site, again)
    assert site.otad.rest("DELETE", "/projects/default/app").status == 204
    wait(lambda: client.downs > 0 and client.refused, "applications are out")
    assert site.otad.rest("GET", "/projects/default/app").status == 404


def test_an_emqx_broker_knows_applications(make_site):
    secret = "hook-secret-0123456789"
    site = make_site({"mqtt.hook_secret": secret})
    app = make_app(site)

    def ask(path, **body):
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        return request(site.otad.port, "POST", path, json.dumps(body), headers).json()["result"]

    key = app["app_key"]
    assert ask("/mqtt/auth", username=key, password=app["app_secret"]) == "allow"
    assert ask("/mqtt/auth", username=key, password=app["app_token"]) == "deny"
    for action, topic, verdict in (
        ("subscribe", f"open/{key}/+/attributes", "allow"),
        ("subscribe", "open/PR_other/+/attributes", "deny"),
        ("publish", f"open/{key}/DU_1/command_send", "allow"),
        ("publish", f"open/{key}/DU_1/attributes", "deny"),
        ("publish", "open/PR_other/DU_1/command_send", "deny"),
    ):
        assert ask("/mqtt/acl", username=key, action=action, topic=topic) == verdict, topic


def test_guessing_is_slowed_down(make_site):
    site = make_site({"http.auth_failures_per_minute": 5})
    app = make_app(site)
    device = argparse.Namespace(key="DU_1")
    site.otad.device(device.key, site.type())
    assert login(site, app["app_key"], app["app_secret"]).status == 200
    good = signed(app)
    assert down_attr(site, device.key, good).status == 200
    codes = [login(site, app["app_key"], f"guess {n}").status for n in range(8)]
    assert codes[0] == 401 and codes[-1] == 429
    assert down_attr(site, device.key, signed(app, signature="0" * 32)).status == 429
    assert down_attr(site, device.key, good).status == 200, "who was right goes on"
