"""Mosquitto with otad's plugin: logins, rights, bare topics, presence."""
import itertools
import json
import queue
import re
import socket
import time

import paho.mqtt.client as paho
import pytest
from otalib import ROOT, at_headers, noise, request, wait
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

V3, V5 = paho.MQTTv311, paho.MQTTv5
BARE = ("attributes/response", "attributes/push", "attributes/get/response/+", "event/response/+",
        "command/send/+")  # fmt: skip
DENIED = (0x80, 0x87)
names = itertools.count(1)


class Client:
    """A bare MQTT client."""

    def __init__(self, site, user, password=None, version=V3, client_id=None, will=None):
        self.inbox = queue.Queue()
        self.acks, self.granted = {}, queue.Queue()
        self.up, self.refused, self.downs = False, None, 0
        kw = {"client_id": client_id or f"c{next(names)}-{user}", "protocol": version}
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2
            self.c = paho.Client(paho.CallbackAPIVersion.VERSION1, **kw)
        else:
            self.c = paho.Client(**kw)
        self.c.username_pw_set(user, password or f"secret-of-{user}")
        self.c.on_connect = self._connected
        self.c.on_disconnect = self._down
        self.c.on_message = lambda _c, _d, m: self.inbox.put((m.topic, m.payload, m))
        self.c.on_subscribe = lambda _c, _d, _mid, codes, *_: self.granted.put(
            [getattr(x, "value", x) for x in codes])  # fmt: skip
        if will:
            self.c.will_set(**will)
        self.c.reconnect_delay_set(1, 1)
        self.c.connect_async("127.0.0.1", site.broker.port)
        self.c.loop_start()
        site.devices.append(self)

    def _connected(self, _c, _d, _flags, rc, _props=None):
        rc = getattr(rc, "value", rc)
        self.up, self.refused = rc == 0, rc or self.refused

    def _down(self, *_):
        self.downs += self.up
        self.up = False

    def connected(self):
        wait(lambda: self.up, f"the client connects ({self.refused})")
        return self

    def subscribe(self, *filters):
        self.c.subscribe([(f, 1) for f in filters])
        return self.granted.get(timeout=60)

    def publish(self, topic, payload, properties=None, qos=1):
        if not isinstance(payload, (str, bytes)):
            payload = json.dumps(payload)
        info = self.c.publish(topic, payload, qos, properties=properties)
        wait(info.is_published, "the publish is acknowledged")

    def next(self, seconds=60):
        topic, payload, self.message = self.inbox.get(timeout=seconds)
        return topic, json.loads(payload)

    def check(self, ref="1"):
        self.publish(f"event/report/{ref}", {"method": "otaCheck", "params": {}})
        while True:
            topic, body = self.next()
            if topic.startswith("command/send/"):
                return topic, body

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("site"), plugin=True)
    yield site
    site.close()


def register(site, device_type=None, **fields):
    key = site.name("TC")
    site.otad.device(key, device_type or site.type(), **fields)
    return key


def online(site, key):
    return site.otad.ok("GET", f"/devices/{key}")["online"]


@pytest.fixture
def known(site):
    """The plugin has found otad."""
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")


@pytest.mark.parametrize("version", [V3, V5])
def test_a_bare_device_upgrades(site, known, version):
    """Report, check, offer, reply, download, report: with no name in any topic."""
    kind = site.type()
    site.otad.firmware(kind, "2.0.0", ("app.bin", noise(kind)))
    one, two = (Client(site, register(site, kind), version=version).connected() for _ in "ab")
    keys = [c.c._username.decode() for c in (one, two)]
    for c in (one, two):
        assert all(g < 0x80 for g in c.subscribe(*BARE))
        c.publish("attributes", {"version": "1.0.0"})
    offers = [c.check("77") for c in (one, two)]
    for key, (topic, body) in zip(keys, offers):
        assert body["params"]["upgrade"] is True
        update = site.otad.updates(key)[0]
        assert body["id"] == update["id"] and topic == f"command/send/{body['id']}"
    assert offers[0][1]["id"] != offers[1][1]["id"]
    # a reply moves its own update, whatever the topic's segment says
    one.publish("command/reply/1000",
                {"method": "otaUpgrade", "params": {"ota_result": 0}, "id": offers[0][1]["id"]})  # fmt: skip
    site.otad.wait_state(keys[0], "installed")
    assert site.otad.updates(keys[1])[0]["state"] == "offered"
    one.publish("attributes", {"version": "2.0.0"})
    site.otad.wait_state(keys[0], "verified")
    topic, body = one.check()
    assert topic == "command/send/0" and body["params"]["upgrade"] is False
    assert one.inbox.empty() and two.inbox.empty(), "somebody got what was not theirs"


def test_stored_attributes_come_with_the_name_of_the_question(site, known):
    kind = site.type(event_response=True, attributes_response=True)
    key = register(site, kind)
    c = Client(site, key).connected()
    c.subscribe(*BARE, "command/reply/response/+")
    c.publish("attributes", {"a": 1})
    assert c.next()[0] == "attributes/response"
    c.publish("attributes/get/x7", {"keys": ["a"]})
    topic, body = c.next()
    assert topic == "attributes/get/response/x7" and body["attributes"] == {"a": 1}
    c.publish("event/report/e9", {"method": "hello", "params": {}})
    assert c.next()[0] == "event/response/e9"
    site.otad.ok("POST", f"/devices/{key}/commands", {"method": "blink", "params": {}})
    topic, body = c.next()
    assert topic == f"command/send/{body['id']}" and body["method"] == "blink"
    for fits, number in ((True, body["id"]), (False, 2**31 - 1)):
        c.publish(f"command/reply/{number}", {"method": "blink", "params": {}, "id": number})
        topic, body = c.next()
        assert topic == f"command/reply/response/{number}"
        assert body["error_code"] == (0 if fits else -3)


def test_tasks_reach_bare_devices(site, known):
    kind = site.type()
    key = register(site, kind)
    c = Client(site, key).connected()
    c.subscribe(*BARE)
    c.publish("attributes", {"version": "1.0.0"})
    wait(lambda: site.otad.ok("GET", f"/devices/{key}")["versions"] or None, "the report is taken")
    for action in ({"kind": "command_send", "method": "reboot", "params": {"delay": 3}},
                   {"kind": "attributes_push", "attributes": {"led": "on"}}):  # fmt: skip
        task = site.otad.ok("POST", "/tasks",
                            {"name": "t", "action": action, "target": {"device_type": kind}})  # fmt: skip
        assert site.otad.rest("POST", f"/tasks/{task['id']}/run", {}).status == 202
        topic, body = c.next()
        if action["kind"] == "command_send":
            assert topic == f"command/send/{body['id']}" and body["method"] == "reboot"
            assert body["params"] == {"delay": 3}
        else:
            assert topic == "attributes/push" and body == {"led": "on"}


def test_a_silent_device_is_reached_after_a_restart(site, known):
    """What it speaks is kept: it says nothing to the new otad."""
    kind = site.type()
    key = register(site, kind)
    c = Client(site, key).connected()
    c.subscribe(*BARE)
    c.publish("attributes", {"version": "1.0.0"})
    wait(lambda: site.otad.ok("GET", f"/devices/{key}")["versions"] or None, "the report is taken")
    site.otad.stop()
    site.otad.start()
    action = {"kind": "command_send", "method": "reboot"}
    task = site.otad.ok("POST", "/tasks",
                        {"name": "t", "action": action, "target": {"device_type": kind}})  # fmt: skip
    assert site.otad.rest("POST", f"/tasks/{task['id']}/run", {}).status == 202
    topic, body = c.next()
    assert topic == f"command/send/{body['id']}" and body["method"] == "reboot"


def test_a_bare_gateway(site, known):
    """What stands behind a ThingsCloud gateway: made, checked, updated, reached by tasks."""
    kind = site.type(auto_create=True, attributes_response=True)
    site.otad.firmware(kind, "2.0.0", ("app.bin", noise(kind)))
    key = register(site, site.type(attributes_response=True, event_response=True))
    g = Client(site, key).connected()
    down = [f"gateway/{t}" for t in ("attributes/response", "attributes/get/response",
                                     "attributes/push", "event/response", "command/send")]  # fmt: skip
    assert all(code < 0x80 for code in g.subscribe(*down))
    g.publish("gateway/connect", {"device": "A1", "product": kind})
    g.publish("gateway/attributes", {"A1": {"version": "1.0.0", "t": 7}})
    topic, body = g.next()
    assert topic == "gateway/attributes/response" and body["error_code"] == 0
    check = {"device": "A1", "event": {"method": "otaCheck", "params": {}}}
    g.publish("gateway/event/report", check)
    topic, body = g.next()
    assert topic == "gateway/command/send" and body["device"] == "A1"
    assert body["command"]["params"]["version"] == "2.0.0" and body["id"] == body["command"]["id"]
    child = site.otad.ok("GET", f"/devices?gateway={key}")["items"][0]
    assert child["address"] == "A1" and child["online"] is True
    reply = {"method": "otaUpgrade", "params": {"ota_result": 0}, "id": body["id"]}
    g.publish("gateway/command/reply", {"device": "A1", "command": reply})
    site.otad.wait_state(child["key"], "installed")
    g.publish("gateway/attributes/get", {"device": "A1", "get": {"keys": ["t"]}})
    topic, body = g.next()
    assert topic == "gateway/attributes/get/response" and body["attributes"] == {"t": 7}
    g.publish("gateway/attributes", {"A1": {"version": "2.0.0"}})
    site.otad.wait_state(child["key"], "verified")
    assert g.next()[0] == "gateway/attributes/response"
    action = {"kind": "attributes_push", "attributes": {"led": "on"}}
    task = site.otad.ok("POST", "/tasks", {"name": "t", "action": action,
                                           "target": {"device_type": kind}})  # fmt: skip
    assert site.otad.rest("POST", f"/tasks/{task['id']}/run", {}).status == 202
    topic, body = g.next()
    assert topic == "gateway/attributes/push"
    assert body == {"device": "A1", "attributes": {"led": "on"}}
    # another gateway can't speak of it
    other = Client(site, register(site)).connected()
    other.publish("gateway/attributes", {"A1": {"version": "6.6.6"}})
    g.publish("gateway/disconnect", {"device": "A1"})
    wait(lambda: site.otad.ok("GET", f"/devices/{child['key']}")["online"] is False, "it is gone")
    versions = site.otad.ok("GET", f"/devices/{child['key']}")["versions"]
    assert versions["main"]["version"] == "2.0.0"


def test_an_eztcloud_device_works_beside(site, known):
    kind = site.type()
    site.otad.firmware(kind, "2.0.0", ("app.bin", noise(kind)))
    device = site.device(kind, "1.0.0")
    assert device.offer()["params"]["version"] == "2.0.0"


def test_an_offline_session_gets_what_came_meanwhile(site, known):
    """The rights of a session that is kept hold while nobody is connected."""
    key = register(site)
    c = Client(site, key)
    c.close()
    c = paho.Client(client_id=f"kept-{key}", clean_session=False)
    got = queue.Queue()
    c.on_message = lambda _c, _d, m: got.put(m.payload)
    c.username_pw_set(key, f"secret-of-{key}")
    subscribed = []
    c.on_subscribe = lambda *_: subscribed.append(1)
    c.connect("127.0.0.1", site.broker.port)
    c.subscribe(f"command_send/{key}", 1)
    c.loop_start()
    wait(lambda: subscribed, "subscribed")
    c.disconnect()
    c.loop_stop()
    other = Client(site, key).connected()
    other.publish(f"event_report/{key}", {"method": "otaCheck", "params": {}})
    wait(lambda: site.otad.metric("otad_ota_checks_total") > 0, "the check is answered")
    other.subscribe(f"command_send/{key}")
    c.connect("127.0.0.1", site.broker.port)
    c.loop_start()
    assert json.loads(got.get(timeout=60))["method"] == "otaUpgrade"
    c.disconnect()
    c.loop_stop()


def test_foreign_topics_are_refused(site, known):
    kind = site.type()
    one, two = register(site, kind), register(site, kind)
    c = Client(site, one, version=V5).connected()
    for topic in (f"command_send/{two}", "command_send/+", "#", "+/#", f"attributes/{one}",
                  "attributes", "event/report/+", "otad/presence", "otad/#", "otad/to/#",
                  "$SYS/#", f"$share/g/command_send/{one}", "command/#", "command/send/#",
                  "$CONTROL/otad/v1"):  # fmt: skip
        assert c.subscribe(topic)[0] in DENIED, topic
    for topic in (f"command_send/{one}", f"data_set/{one}/#", *BARE):
        assert c.subscribe(topic)[0] < 0x80, topic
    victim = Client(site, two).connected()
    victim.subscribe(f"command_send/{two}", *BARE, "data/+/set")
    # who comes and goes is told in messages too
    wait(lambda: site.otad.metric("otad_devices_online") == 2, "presence has settled")
    before = site.otad.metric("otad_mqtt_messages_total")
    for topic in (f"attributes/{two}", f"event_report/{two}", f"command_send/{two}",
                  "command/send/5", "attributes/push", f"otad/to/{two}/command/send/5",
                  "otad/presence", "attributes/series/x", "$CONTROL/otad/v1"):  # fmt: skip
        c.publish(topic, {"version": "6.6.6"})
    # allowed by its form, and handed to nobody: the name of another is only a word there
    c.publish("data/x", "1")
    # everything above has been through the broker when this has
    c.publish(f"attributes/{one}", {"version": "1.0.0"})
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["versions"], "the last one arrives")
    assert site.otad.metric("otad_mqtt_messages_total") == before + 1
    assert victim.inbox.empty()
    assert not site.otad.ok("GET", f"/devices/{two}")["versions"]


def test_a_forged_name_is_refused(site, known):
    kind = site.type()
    one, two = register(site, kind), register(site, kind)
    c = Client(site, one, version=V5).connected()
    for name in ("username", "clientid"):
        forged = Properties(PacketTypes.PUBLISH)
        forged.UserProperty = [("colour", "red"), (name, two)]
        c.publish("attributes", {"version": "6.6.6"}, forged)
        c.publish(f"attributes/{one}", {"version": "6.6.6"}, forged)
    harmless = Properties(PacketTypes.PUBLISH)
    harmless.UserProperty = [("colour", "red")]
    c.publish("attributes", {"version": "1.0.0"}, harmless)
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["versions"], "the honest one arrives")
    assert site.otad.ok("GET", f"/devices/{one}")["versions"]["main"]["version"] == "1.0.0"
    assert not site.otad.ok("GET", f"/devices/{two}")["versions"]


@pytest.mark.parametrize("version", [V3, V5])
def test_a_will_is_not_published(site, known, version):
    """Nobody checks a will's properties, so it could bear any name."""
    import socket

    kind = site.type()
    one, two = register(site, kind), register(site, kind)
    will = {"topic": "attributes", "payload": '{"will": 1}', "qos": 1}
    if version == V5:
        will["properties"] = Properties(PacketTypes.WILLMESSAGE)
        will["properties"].UserProperty = [("username", two)]
    c = Client(site, one, will=will, version=version).connected()
    c.c.socket().shutdown(socket.SHUT_RDWR)  # no DISCONNECT: the broker looks at the will
    wait(lambda: c.downs > 0 and c.up, "it comes back")
    c.publish("attributes", {"version": "1.0.0"})
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["versions"], "its word arrives")
    assert site.otad.ok("GET", f"/devices/{one}")["attributes"] == {"version": "1.0.0"}
    assert site.otad.ok("GET", f"/devices/{two}")["attributes"] == {}
    assert "no_identity" not in site.otad.logs()


@pytest.mark.parametrize("version", [V3, V5])
def test_changes_of_logins_work_at_once(site, known, version):
    key = register(site)
    start = time.monotonic()
    c = Client(site, key, version=version).connected()
    assert time.monotonic() - start < 30
    # a new password ends the connection, and only the new one opens
    site.otad.ok("PATCH", f"/devices/{key}", {"password": "another-secret"})
    wait(lambda: c.downs > 0 and c.refused, "the old password is out")
    c.close()
    new = Client(site, key, "another-secret", version=version).connected()
    # disabled: kicked and refused
    site.otad.ok("PATCH", f"/devices/{key}", {"enabled": False})
    wait(lambda: new.downs > 0 and new.refused, "a disabled device is out")
    site.otad.ok("PATCH", f"/devices/{key}", {"enabled": True})
    new.connected()
    downs = new.downs
    assert site.otad.rest("DELETE", f"/devices/{key}").status == 204
    wait(lambda: new.downs > downs and not new.up, "a deleted device is out")
    # other fields leave it alone
    other = register(site)
    keeps = Client(site, other, version=version).connected()
    site.otad.ok("PATCH", f"/devices/{other}", {"name": "renamed", "enabled": True})
    keeps.publish(f"attributes/{other}", {"version": "1"})
    assert keeps.downs == 0


def test_a_revoked_device_is_out_before_anything_else_is_said(site, known):
    """No clock in it: what otad says next to another device comes behind the end of the connection. So
    nothing is waited for, no file is read, nobody looks from time to time."""
    kind = site.type(down_interval_ms=0)
    witness = Client(site, register(site, kind)).connected()
    key = witness.c._username.decode()
    witness.subscribe(*BARE)
    witness.publish("attributes", {"version": "1.0.0"})
    for change in ({"enabled": False}, {"password": "another-one-of-these"}) * 5:
        device = register(site, kind)
        c = Client(site, device, client_id=site.name("out")).connected()
        site.otad.ok("PATCH", f"/devices/{device}", change)
        assert site.otad.rest("POST", f"/devices/{key}/commands", {"method": "next"}).status == 202
        assert witness.next()[1]["method"] == "next"
        said = re.findall(f"Client {c.c._client_id.decode()} .*", site.broker.log.read_text())
        assert said, "the broker has not ended the connection"
        c.close()


def test_an_import_reaches_the_broker(site, known):
    kind = site.type()
    rows = "key,device_type,password\n" + "".join(
        f"{kind}-i{i},{kind},secret-of-{kind}-i{i}\n" for i in range(50)
    )
    answer = site.otad.rest("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
    assert answer.status == 200, answer
    Client(site, f"{kind}-i49").connected()


def test_who_was_deleted_and_is_imported_again_is_let_in(site, known):
    """What was told of a login stands against the file for a minute. As above no clock is in it."""
    kind = site.type(down_interval_ms=0)
    witness = Client(site, register(site, kind)).connected()
    key = witness.c._username.decode()
    witness.subscribe(*BARE)
    witness.publish("attributes", {"version": "1.0.0"})
    gone = [register(site, kind) for _ in range(3)]
    Client(site, gone[0]).connected().close()
    for name in gone:
        assert site.otad.rest("DELETE", f"/devices/{name}").status == 204
    rows = "key,device_type,password\n" + "".join(f"{g},{kind},new-secret-of-{g}\n" for g in gone[:2])
    answer = site.otad.rest("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
    assert answer.status == 200, answer
    assert site.otad.rest("POST", f"/devices/{key}/commands", {"method": "next"}).status == 202
    assert witness.next()[1]["method"] == "next"
    for name in gone[:2]:
        assert Client(site, name, f"new-secret-of-{name}").connected().refused is None
    for name in (gone[0], gone[2]):
        c = Client(site, name)
        wait(lambda: c.refused, "the old password, and a device that stays deleted, are refused")
        c.close()


def test_presence(site, known):
    key, never = register(site), register(site)
    first = Client(site, key).connected()
    wait(lambda: online(site, key) is True, "it is online")
    assert online(site, never) is False
    second = Client(site, key, version=V5).connected()
    second.publish(f"attributes/{key}", {"a": 1})
    first.close()
    second.publish(f"attributes/{key}", {"a": 2})
    wait(lambda: site.otad.ok("GET", f"/devices/{key}")["attributes"] == {"a": 2}, "reported")
    assert online(site, key) is True, "one of two connections is left"
    second.close()
    wait(lambda: online(site, key) is False, "it is offline")
    assert {d["online"] for d in site.otad.ok("GET", "/devices?limit=500")["items"]} <= {True, False}


def test_presence_after_restarts(make_site):
    site = make_site(plugin=True)
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    key = register(site)
    c = Client(site, key).connected()
    wait(lambda: online(site, key) is True, "it is online")
    site.otad.kill()
    site.otad.start()
    wait(lambda: online(site, key) is True, "it is online for the new otad")
    site.broker.stop()
    wait(lambda: online(site, key) is None, "nobody tells")
    # a change that the broker misses
    site.otad.ok("PATCH", f"/devices/{key}", {"password": "another-secret"})
    site.broker.start()
    wait(lambda: c.refused, "the old password is refused")
    c.close()
    wait(lambda: online(site, key) is False, "it is not online")
    Client(site, key, "another-secret").connected()
    wait(lambda: online(site, key) is True, "it is online again")


def test_a_reload_of_the_broker_keeps_connections(site, known):
    import signal

    c = Client(site, register(site)).connected()
    d = Client(site, register(site), version=V5).connected()
    for _ in range(3):
        seen = site.broker.log.read_text().count("logins read")
        site.broker.process.send(signal.SIGHUP)
        wait(lambda: site.broker.log.read_text().count("logins read") > seen, "it reads the file")
    for x in (c, d):
        x.publish("attributes", {"version": "1.0.0"})
        assert x.downs == 0


def test_a_broken_file_is_told_and_survived(site, known):
    import signal

    passwd = site.broker.auth / "passwd"
    good = passwd.read_bytes()
    c = Client(site, register(site)).connected()
    for bad in (b"no colon here\n", b"DU_x:$7$101$cut", b"\x00\xff\n", None):
        seen = site.broker.log.read_text().count("stay as they were")
        passwd.write_bytes(bad) if bad is not None else passwd.unlink()
        site.broker.process.send(signal.SIGHUP)
        wait(lambda: site.broker.log.read_text().count("stay as they were") > seen, f"told: {bad}")
    passwd.write_bytes(good)
    c.publish("attributes", {"version": "1.0.0"})
    assert c.downs == 0


def test_wrong_logins_are_refused(site, known):
    key = register(site)
    for user, password in ((key, "wrong"), ("nobody", "x"), ("otad", "wrong"), (key, "")):
        c = Client(site, user, password or " ")
        wait(lambda: c.refused, f"{user} is refused")
        assert not c.up
        c.close()


def test_without_the_plugin_presence_is_unknown(make_site):
    site = make_site()
    device = site.device(site.type(), "1.0.0")
    assert online(site, device.key) is None


def test_calls_of_an_emqx_broker(make_site):
    secret = "hook-secret-0123456789"
    site = make_site({"mqtt.hook_secret": secret})
    site.otad.device("D-1", site.type())

    def ask(path, body, token=secret):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return request(site.otad.port, "POST", path, json.dumps(body), headers)

    def login(username, password):
        body = {"username": username, "password": password, "clientid": "x"}
        return ask("/mqtt/auth", body).json()

    def may(username, action, topic):
        body = {"username": username, "action": action, "topic": topic}
        return ask("/mqtt/acl", body).json()["result"]

    assert login("D-1", "secret-of-D-1") == {"result": "allow"}
    assert login("D-1", "wrong") == {"result": "deny"}
    assert login("D-2", "secret-of-D-1") == {"result": "deny"}
    assert login("otad", site.otad.password) == {"result": "allow", "is_superuser": True}
    assert login("otad", "wrong")["result"] == "deny"
    assert login("", "")["result"] == "deny"
    site.otad.ok("PATCH", "/devices/D-1", {"enabled": False})
    assert login("D-1", "secret-of-D-1") == {"result": "deny"}
    assert may("D-1", "publish", "attributes/D-1") == "allow"
    assert may("D-1", "subscribe", "command_send/D-1") == "allow"
    assert may("D-1", "subscribe", "data_set/D-1/#") == "allow"
    for action, topic in (("publish", "command_send/D-1"), ("subscribe", "attributes/D-1"),
                          ("publish", "attributes/D-2"), ("subscribe", "command_send/+"),
                          ("subscribe", "#"), ("publish", "attributes"), ("dance", "attributes/D-1"),
                          ("subscribe", "command/send/+")):  # fmt: skip
        assert may("D-1", action, topic) == "deny", (action, topic)
    assert may("otad", "subscribe", "attributes/+") == "allow"
    assert ask("/mqtt/auth", {}, "wrong").status == 401
    assert ask("/mqtt/acl", {}, "wrong").status == 401
    assert request(site.otad.port, "POST", "/mqtt/auth", "[]",
                   {"Authorization": f"Bearer {secret}"}).status == 400  # fmt: skip


def test_guessing_the_hook_secret_is_slow(make_site):
    secret = "hook-secret-0123456789"
    site = make_site({"mqtt.hook_secret": secret, "http.auth_failures_per_minute": 20})

    def ask(token):
        return request(site.otad.port, "POST", "/mqtt/auth", '{"username": "x"}',
                       {"Authorization": f"Bearer {token}"})  # fmt: skip

    answers = [ask("wrong")]
    while answers[-1].status == 401 and len(answers) < 10_000:
        answers.append(ask("wrong"))
    assert answers[-1].status == 429 and len(answers) > 20
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert ask(secret).status == 200  # the broker is heard on
    assert at_headers(site.otad.port, "POST", "/mqtt/acl", Authorization="Bearer x") in (401, 429)


def test_requests_as_emqx_sends_them(make_site):
    """Small letters in the headers of config/emqx.conf, on one connection, one behind the other without
    waiting; what a client did not say is an empty text."""
    secret = "hook-secret-0123456789"
    site = make_site({"mqtt.hook_secret": secret})
    site.otad.device("D-1", site.type())
    told = {"username": "D-1", "password": "secret-of-D-1", "clientid": "c1"}
    asked = [
        ("/mqtt/auth", told, {"result": "allow"}),
        ("/mqtt/auth", {"username": "", "password": "", "clientid": "c2"}, {"result": "deny"}),
        ("/mqtt/auth", {**told, "username": None, "password": None}, {"result": "deny"}),
        ("/mqtt/auth", {**told, "username": "undefined"}, {"result": "deny"}),
        ("/mqtt/auth", {**told, "username": "otad", "password": site.otad.password},
         {"result": "allow", "is_superuser": True}),
        ("/mqtt/acl", {"username": "D-1", "topic": "attributes/D-1", "action": "publish"},
         {"result": "allow"}),
        ("/mqtt/acl", {"username": "D-1", "topic": "command_send/D-1", "action": "subscribe"},
         {"result": "allow"}),
        ("/mqtt/acl", {"username": "D-1", "topic": "command_send/+", "action": "subscribe"},
         {"result": "deny"}),
        ("/mqtt/acl", {"username": "D-1", "topic": "键/\"x\"", "action": "publish"}, {"result": "deny"}),
    ]  # fmt: skip
    out = b""
    for path, body, _ in asked:
        payload = json.dumps(body, ensure_ascii=False).encode()
        out += (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{site.otad.port}\r\n"
            f"accept: application/json\r\nauthorization: Bearer {secret}\r\n"
            "cache-control: no-cache\r\nconnection: keep-alive\r\ncontent-type: application/json\r\n"
            f"keep-alive: timeout=30, max=1000\r\ncontent-length: {len(payload)}\r\n\r\n"
        ).encode() + payload
    with socket.create_connection(("127.0.0.1", site.otad.port), 60) as s:
        s.sendall(out)
        answers = s.makefile("rb")
        for path, body, want in asked:
            assert answers.readline().split(b" ")[1] == b"200", (path, body)
            headers = {}
            while (line := answers.readline().decode().strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            # EMQX reads the result only from JSON
            assert headers["content-type"].startswith("application/json")
            assert json.loads(answers.read(int(headers["content-length"]))) == want, (path, body)
    # the file asks what these tests ask
    conf = (ROOT / "config/emqx.conf").read_text()
    for path, fields in (("auth", ("username", "password", "clientid")),
                         ("acl", ("username", "topic", "action"))):  # fmt: skip
        block = conf[conf.index(f"/mqtt/{path}"):]
        block = block[block.index("body {"): block.index("pool_size")]
        assert re.findall(r'(\w+) = "\$\{(\w+)\}"', block) == [(f, f) for f in fields]


def test_without_a_secret_there_are_no_hooks(site):
    for path in ("/mqtt/auth", "/mqtt/acl"):
        answer = request(site.otad.port, "POST", path, "{}", {"Authorization": "Bearer "})
        assert answer.status == 404
