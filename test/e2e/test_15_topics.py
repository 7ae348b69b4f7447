"""Foreign topics of device types: fixed firmware that knows its serial number alone."""
import json
import queue

import paho.mqtt.client as paho
import pytest
from conftest import Site
from otalib import noise, wait


def topics(stem):
    """A device type's topics, as a factory might have fixed them."""
    return [
        {"topic": f"/{stem}/{{sn}}/up/version", "as": "attributes",
         "fields": {"version": "/data/fw", "rssi": "net.rssi"}},
        {"topic": f"/{stem}/{{sn}}/up/check", "as": "event_report", "event": "otaCheck"},
        {"topic": f"/{stem}/{{sn}}/up/result", "as": "command_reply",
         "fields": {"id": "job", "ota_result": "code"}},
        {"topic": f"/{stem}/{{sn}}/down/fota", "as": "command_send",
         "payload": {"cmd": "fota", "data": {"url": "{params.url}", "ver": "{params.version}",
                                             "sum": "{/params/md5}", "len": "{params.size}"},
                     "job": "{id}"}},
        {"topic": f"/{stem}/{{sn}}/down/command", "as": "command_send", "method": "reboot"},
    ]  # fmt: skip


class Fixed:
    """A client with topics of its own."""

    def __init__(self, site, user, *filters):
        self.inbox, self.subscribed, self.up = queue.Queue(), [], False
        kw = {"client_id": f"fixed-{user}"}
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2
            kw["callback_api_version"] = paho.CallbackAPIVersion.VERSION1
        self.c = paho.Client(**kw)
        self.c.username_pw_set(user, f"secret-of-{user}")
        self.c.on_connect = self._connected
        self.c.on_subscribe = lambda _c, _d, _m, codes: self.subscribed.append(codes)
        self.c.on_message = lambda _c, _d, m: self.inbox.put((m.topic, json.loads(m.payload)))
        self.c.reconnect_delay_set(1, 1)
        self.c.connect_async("127.0.0.1", site.broker.port)
        self.c.loop_start()
        site.devices.append(self)
        wait(lambda: self.up, f"{user} connects")
        if filters:
            self.c.subscribe([(f, 1) for f in filters])
            wait(lambda: self.subscribed, f"{user} subscribes")

    def _connected(self, _c, _d, _flags, rc):
        self.up = rc == 0

    def publish(self, topic, payload):
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        info = self.c.publish(topic, text, 1)
        wait(info.is_published, "the publish is acknowledged")

    def next(self):
        return self.inbox.get(timeout=60)

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


@pytest.fixture(scope="module", params=[False, True], ids=["stock", "plugin"])
def module_site(request, tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"), plugin=request.param)
    if request.param:
        wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    site.plugin = request.param
    yield site
    site.close()


def register(site, kind, sn, **fields):
    key = site.name("F")
    site.otad.device(key, kind, sn=sn, **fields)
    return key


def told(site, key, sn=""):
    """The files for the broker know what this device may use."""
    path = site.broker.auth / ("topics" if site.plugin else "acl")
    line = f"device {key} " if site.plugin else f"user {key}\n"

    def written():
        text = path.read_text() if path.exists() else ""
        return line in text and sn in text

    wait(written, "the rights are written")


def versions(site, key):
    return site.otad.ok("GET", f"/devices/{key}")["versions"]


def report_until_heard(site, device, key, topic, version):
    """The broker takes its rights up in its own time."""

    def heard():
        device.publish(topic, {"data": {"fw": version}})
        return versions(site, key).get("main", {}).get("version") == version

    wait(heard, "the report arrives", step=0.1)


def test_a_life_on_fixed_topics(site):
    """Map, report, check, offer, reply, download, report; a task; changes without a restart."""
    stem = site.name("acme")
    kind = site.type()
    data = noise(kind)
    site.otad.firmware(kind, "2.0.0", ("app.bin", data))
    key = register(site, kind, "SN-1")
    site.otad.ok("PATCH", f"/device-types/{kind}", {"topics": topics(stem)})
    assert site.otad.ok("GET", f"/device-types/{kind}")["topics"] == topics(stem)
    told(site, key)
    up = f"/{stem}/SN-1/up"
    d = Fixed(site, key)
    report_until_heard(site, d, key, f"{up}/version", "1.0.0")
    d.c.subscribe(f"/{stem}/SN-1/down/#", 1)
    wait(lambda: d.subscribed and d.subscribed[-1][0] < 0x80, "its own branch can be subscribed")
    d.publish(f"{up}/version", {"data": {"fw": "1.0.0"}, "net": {"rssi": -60}, "x": 1})
    d.publish(f"{up}/check", "")  # no payload at all
    topic, offer = d.next()
    update = site.otad.updates(key)[0]
    assert topic == f"/{stem}/SN-1/down/fota"
    assert offer["cmd"] == "fota" and offer["job"] == update["id"]
    assert offer["data"]["ver"] == "2.0.0" and offer["data"]["len"] == len(data)
    assert len(offer["data"]["sum"]) == 32 and offer["data"]["url"].startswith("http://")
    assert site.otad.ok("GET", f"/devices/{key}")["attributes"] == {"version": "1.0.0", "rssi": -60}
    d.publish(f"{up}/result", {"job": offer["job"], "code": 0})
    site.otad.wait_state(key, "installed")
    d.publish(f"{up}/version", {"data": {"fw": "2.0.0"}})
    site.otad.wait_state(key, "verified")
    # nothing to do: the template has no word for that, so nothing is sent; the command after it is
    d.publish(f"{up}/check", "{not json")
    wait(lambda: site.otad.metric("otad_ota_checks_total", result="nothing") > 0, "checked")
    # otad forgets nothing: a silent device is reached by its own topic
    site.otad.stop()
    site.otad.start()
    action = {"kind": "command_send", "method": "reboot", "params": {"delay": 3}}
    task = site.otad.ok("POST", "/tasks",
                        {"name": "t", "action": action, "target": {"devices": [key]}})  # fmt: skip
    assert site.otad.rest("POST", f"/tasks/{task['id']}/run", {}).status == 202
    topic, body = d.next()
    assert topic == f"/{stem}/SN-1/down/command"
    assert body["method"] == "reboot" and body["params"] == {"delay": 3}
    # another topic for the same, effective at once
    changed = topics(stem)
    changed[0] = {"topic": f"{stem}-new/{{sn}}", "as": "attributes", "text": "version"}
    site.otad.ok("PATCH", f"/device-types/{kind}", {"topics": changed})

    def heard():
        d.publish(f"{stem}-new/SN-1", "2.1.0\n")
        return versions(site, key)["main"]["version"] == "2.1.0"

    wait(heard, "the new topic is heard", step=0.1)
    d.publish(f"{up}/version", {"data": {"fw": "6.6.6"}})
    d.publish(f"{stem}-new/SN-1", "2.2.0")
    wait(lambda: versions(site, key)["main"]["version"] == "2.2.0", "the old one is not heard")


def test_others_topics_are_out_of_reach(site):
    stem = site.name("acme")
    kind = site.type(topics=topics(stem))
    site.otad.firmware(kind, "2.0.0")
    one, two = register(site, kind, "SN-1"), register(site, kind, "SN-2")
    stranger = register(site, site.type(), "SN-2")  # of another type
    told(site, two)
    a, b = Fixed(site, one), Fixed(site, two)
    s = Fixed(site, stranger, f"/{stem}/SN-2/down/#", f"/{stem}/+/down/fota")
    report_until_heard(site, a, one, f"/{stem}/SN-1/up/version", "1.0.0")
    report_until_heard(site, b, two, f"/{stem}/SN-2/up/version", "1.0.0")
    a.c.subscribe([(f"/{stem}/{x}/down/fota", 1) for x in ("SN-1", "SN-2", "+")])
    b.c.subscribe(f"/{stem}/SN-2/down/fota", 1)
    wait(lambda: a.subscribed and b.subscribed, "subscribed")
    if site.plugin:  # the stock broker looks when it delivers
        assert [c < 0x80 for c in a.subscribed[0]] == [True, False, False]
        assert all(c >= 0x80 for c in s.subscribed[0])
    for device, topic in ((a, f"/{stem}/SN-2/up/version"), (s, f"/{stem}/SN-2/up/version"),
                          (a, f"/{stem}/SN-1/down/fota"), (b, f"/{stem}/SN-1/down/fota")):  # fmt: skip
        device.publish(topic, {"data": {"fw": "6.6.6"}})
    b.publish(f"/{stem}/SN-2/up/check", "{}")
    topic, body = b.next()
    assert topic == f"/{stem}/SN-2/down/fota" and body["data"]["ver"] == "2.0.0"
    a.publish(f"/{stem}/SN-1/up/check", "{}")
    assert a.next()[0] == f"/{stem}/SN-1/down/fota"
    assert a.inbox.empty() and b.inbox.empty() and s.inbox.empty()
    assert versions(site, two)["main"]["version"] == "1.0.0"


def test_a_shared_serial_number_is_nobodys(site):
    stem = site.name("acme")
    kind = site.type(topics=topics(stem))
    one = register(site, kind, "SN-7")
    told(site, one)
    a = Fixed(site, one)
    report_until_heard(site, a, one, f"/{stem}/SN-7/up/version", "1.0.0")
    two = register(site, kind, "SN-7")
    a.publish(f"/{stem}/SN-7/up/version", {"data": {"fw": "6.6.6"}})
    a.publish(f"attributes/{one}", {"mark": 1})  # its own name always works
    wait(lambda: site.otad.ok("GET", f"/devices/{one}")["attributes"].get("mark"), "heard")
    assert versions(site, one)["main"]["version"] == "1.0.0" and not versions(site, two)
    # mended
    site.otad.ok("PATCH", f"/devices/{two}", {"sn": "SN-8"})
    told(site, two, "SN-8")
    b = Fixed(site, two)
    report_until_heard(site, b, two, f"/{stem}/SN-8/up/version", "3.0.0")
    report_until_heard(site, a, one, f"/{stem}/SN-7/up/version", "1.0.1")


def test_bad_topics_are_explained(site):
    stem = site.name("acme")
    site.type(topics=topics(stem))
    kind = site.type()

    def refused(*entries):
        answer = site.otad.rest("PATCH", f"/device-types/{kind}", {"topics": list(entries)})
        assert answer.status == 422, answer
        return {e["pointer"]: e["detail"] for e in answer.json()["errors"]}

    up = {"topic": f"/{kind}/{{sn}}/up", "as": "attributes"}
    down = {"topic": f"/{kind}/{{sn}}/down", "as": "command_send"}
    for bad, word in (("/x/up", "{sn}"), ("/x/{sn}/+", "wildcards"), ("/x/{sn}/#", "wildcards"),
                      ("{sn}/x/y", "first"), ("$SYS/{sn}", "broker"), ("/x/d{sn}/up", "whole level"),
                      ("attributes/{sn}", "protocol"), ("otad/{sn}", "protocol"),
                      ("event/report/{sn}", "protocol"), (f"/{stem}/{{sn}}/up/check", "device type"),
                      (f"/{stem}/x/{{sn}}/check", None), ("/{sn}/{sn}", "once"),
                      ("/x/{sn}/" + "a" * 200, "at most")):  # fmt: skip
        if word is None:
            bad = f"/{stem}/SN/{{sn}}/check"  # /stem/{sn}/up/check, seen from its other level
        found = refused({"topic": bad, "as": "attributes"})
        assert word is None or word in found["/topics/0/topic"], (bad, found)
    assert "publish" in refused(down)["/topics"]
    assert "meets topic 0" in refused(up, {**up, "as": "event_report"})["/topics/1/topic"]
    assert "already" in refused(up, down, {**down, "topic": f"/{kind}/{{sn}}/2"})["/topics/2/as"]
    assert "params.uri" in refused(up, {**down, "payload": {"u": "{params.uri}"}})["/topics/1/payload"]
    assert "/topics/1/payload" in refused(up, {**down, "payload": {"u": "x"}})
    assert "path" in refused({**up, "fields": {"version": "a..b"}})["/topics/0/fields"]
    assert "/topics/0/event" in refused({**up, "event": "otaCheck"})
    assert "/topics/0/as" in refused({**up, "as": "firmware"})
    assert "fields" in refused({**up, "field": {}})["/topics/0/field"]
    assert "16" in refused(*({**up, "topic": f"/{kind}/{{sn}}/{i}"} for i in range(17)))["/topics"]
    assert site.otad.ok("GET", f"/device-types/{kind}")["topics"] == []


def test_emqx_is_told_the_same(make_site):
    from otalib import request

    secret = "hook-secret-0123456789"
    site = make_site({"mqtt.hook_secret": secret})
    kind = site.type(topics=topics("acme"))
    site.otad.device("D-1", kind, sn="SN-1")

    def may(action, topic):
        body = json.dumps({"username": "D-1", "action": action, "topic": topic})
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        return request(site.otad.port, "POST", "/mqtt/acl", body, headers).json()["result"]

    assert may("publish", "/acme/SN-1/up/version") == "allow"
    assert may("subscribe", "/acme/SN-1/down/fota") == "allow"
    for action, topic in (("publish", "/acme/SN-2/up/version"), ("publish", "/acme/SN-1/down/fota"),
                          ("subscribe", "/acme/+/down/fota"), ("subscribe", "/acme/SN-1/up/check")):  # fmt: skip
        assert may(action, topic) == "deny", topic
    site.otad.device("D-2", kind, sn="SN-1")
    assert may("publish", "/acme/SN-1/up/version") == "deny"
