"""Devices behind gateways: both protocols, with stock MQTT clients and an unmodified broker."""
import json
import subprocess
import urllib.parse

import pytest
from otalib import PATIENCE, Process, fetch, noise, wait


class Gateway:
    """A registered and connected gateway, and a type of its own for what stands behind it."""

    def __init__(self, site, **gateway_type):
        self.site, self.otad = site, site.otad
        self.kind = site.type()
        self.data = noise(self.kind, 30_000)
        self.otad.firmware(self.kind, "2.0.0", ("child.bin", self.data))
        self.device = site.device(site.type(**gateway_type))
        self.key = self.device.key
        topics = ("command_send", "attributes_get_response", "attributes_response",
                  "event_response", "attributes_push")  # fmt: skip
        self.device.subscribed = False
        self.device.client.subscribe(
            [(f"{p}_{t}/{self.key}", 1) for p in ("gateway", "sub") for t in topics]
        )
        wait(lambda: self.device.subscribed, "the gateway's subscriptions")

    def child(self, gateway=None, address=None):
        key = self.site.name("child")
        body = {"key": key, "device_type": self.kind, "gateway": gateway or self.key}
        if address:
            body["address"] = address
        return self.otad.ok("POST", "/devices", body)

    def get(self, key):
        return self.otad.ok("GET", f"/devices/{urllib.parse.quote(key)}")

    def behind(self, gateway=None):
        items = self.otad.ok("GET", f"/devices?gateway={gateway or self.key}")["items"]
        return {d["address"]: d for d in items}

    def say(self, topic, payload):
        self.device.publish(topic, payload)

    def check(self, form, device):
        """An OTA check in one form; the answer, which must come in the same."""
        self.say(f"{form}_event_report",
                 {"device": device, "event": {"method": "otaCheck", "params": {}, "id": 1000}})  # fmt: skip
        answer = self.device.receive(f"{form}_command_send")
        assert answer["device"] == device, answer
        assert answer["id"] == answer["command"]["id"], answer
        assert answer["command"]["method"] == "otaUpgrade", answer
        return answer["command"]


@pytest.fixture
def gateway(site):
    return Gateway(site)


def test_with_stock_tools(site, gateway, tmp_path):
    """The platform's own example, with mosquitto_pub and mosquitto_sub."""
    child = gateway.child(address="DEVICE1")
    assert "password" not in child and child["address"] == "DEVICE1"
    login = ("-h", "127.0.0.1", "-p", str(site.broker.port), "-u", gateway.key, "-P",
             f"secret-of-{gateway.key}", "-q", "1")  # fmt: skip

    def publish(topic, message):
        subprocess.run(["mosquitto_pub", *login, "-t", f"{topic}/{gateway.key}", "-m", message],
                       check=True, timeout=PATIENCE)  # fmt: skip

    publish("gateway_attributes", '{"DEVICE1":{"version":"1.0.0"}}')
    heard = tmp_path / "heard"
    sub = Process(["mosquitto_sub", *login, "-t", f"gateway_command_send/{gateway.key}"], heard)
    try:

        def offered():
            publish("gateway_event_report",
                    '{"device":"DEVICE1","event":{"method":"otaCheck","params":{},"id":1000}}')  # fmt: skip
            return heard.read_text().splitlines()

        offer = json.loads(wait(offered, "an offer")[0])
    finally:
        sub.end()
    assert offer["device"] == "DEVICE1" and offer["id"] == offer["command"]["id"]
    params = offer["command"]["params"]
    assert params["upgrade"] is True and params["version"] == "2.0.0"
    assert fetch(site.otad.port, params["url"]).body == gateway.data
    publish("gateway_attributes", '{"DEVICE1":{"version":"2.0.0"}}')
    update = site.otad.wait_state(child["key"], "verified")
    assert update["id"] == offer["id"] and update["suspect"] is False


@pytest.mark.parametrize("form", ["gateway", "sub"])
def test_each_protocol(site, form):
    gateway = Gateway(site, parallel_updates=2)
    a, b = gateway.child(address="A"), gateway.child()
    one = "A" if form == "gateway" else ["A"]
    two = b["key"] if form == "gateway" else [b["key"]]
    assert b["address"] == b["key"]
    gateway.say(f"{form}_connect", {"device": one})
    wait(lambda: gateway.get(a["key"])["online"] is True, "A is online")
    assert gateway.get(b["key"])["online"] is None
    report = {"A": {"version": "1.0.0", "t": 1}, b["key"]: {"version": "1.5.0"}}
    if form == "sub":
        report = {k: {"attributes": v, "ts": 1700000000000} for k, v in report.items()}
    gateway.say(f"{form}_attributes", report)
    wait(lambda: "main" in gateway.get(b["key"])["versions"], "both versions")

    gateway.say(f"{form}_attributes_get", {"device": one, "get": {"keys": ["t", "none"]}})
    answer = gateway.device.receive(f"{form}_attributes_get_response")
    assert answer["device"] == one and answer["attributes"] == {"t": 1}
    assert answer["error_code"] == 0 and answer["ts"] > 0

    offer = gateway.check(form, one)
    other = gateway.check(form, two)
    assert offer["id"] != other["id"]
    gateway.say(f"{form}_command_reply", {"device": one, "command": {
        "method": "otaUpgrade", "params": {}, "id": offer["id"]}})  # fmt: skip
    gateway.otad.wait_state(a["key"], "accepted")
    assert fetch(gateway.otad.port, offer["params"]["url"]).body == gateway.data
    gateway.otad.wait_state(a["key"], "downloaded")
    gateway.say(f"{form}_command_reply", {"device": one, "command": {
        "method": "otaUpgrade", "params": {"ota_result": 0}}, "id": offer["id"]})  # fmt: skip
    gateway.otad.wait_state(a["key"], "installed")
    report["A"] = {"attributes": {"version": "2.0.0"}} if form == "sub" else {"version": "2.0.0"}
    gateway.say(f"{form}_attributes", report)
    gateway.otad.wait_state(a["key"], "verified")
    assert gateway.otad.updates(b["key"])[0]["state"] == "offered"
    gateway.say(f"{form}_disconnect", {"device": one})
    wait(lambda: gateway.get(a["key"])["online"] is False, "A is offline")


def test_a_path_in_tree_and_list_form(gateway):
    a = gateway.child(address="A")
    b = gateway.child(a["key"], "B")
    c = gateway.child(b["key"], "温度 3")
    path = ["A", "B", "温度 3"]
    gateway.say("sub_attributes", {"A": {"sub": {"B": {"attributes": {"x": 1}, "sub": {
        "温度 3": {"attributes": {"version": "1.0.0"}}}}}}})  # fmt: skip
    wait(lambda: "main" in gateway.get(c["key"])["versions"], "the version of the innermost")
    assert gateway.get(b["key"])["attributes"] == {"x": 1}
    assert gateway.get(a["key"])["attributes"] == {}
    gateway.say("sub_attributes", [{"device": path, "ts": 1, "attributes": {"version": "1.2.0"}},
                                   {"device": ["A"], "attributes": {"y": 2}}])  # fmt: skip
    wait(lambda: gateway.get(a["key"])["attributes"] == {"y": 2}, "the second of the list")
    assert gateway.get(c["key"])["versions"]["main"]["version"] == "1.2.0"
    offer = gateway.check("sub", path)
    assert fetch(gateway.otad.port, offer["params"]["url"]).body == gateway.data
    gateway.say("sub_attributes", [{"device": path, "attributes": {"version": "2.0.0"}}])
    gateway.otad.wait_state(c["key"], "verified")
    again = gateway.check("sub", path)
    assert again["params"]["upgrade"] is False and again["id"] == 0


def test_somebody_elses_child_is_refused(site, gateway):
    child = gateway.child(address="A")
    thief = Gateway(site)
    gateway.say("gateway_attributes", {"A": {"version": "1.0.0", "x": "mine"}})
    wait(lambda: gateway.get(child["key"])["attributes"].get("x"), "the report")
    refused = site.otad.metric("otad_device_messages_refused_total", reason="unknown_device")
    thief.say("gateway_attributes", {"A": {"x": "stolen"}})
    thief.say("gateway_attributes", {child["key"]: {"x": "stolen"}})
    thief.say("sub_attributes", {gateway.key: {"sub": {"A": {"attributes": {"x": "stolen"}}}}})
    thief.say("sub_connect", {"device": ["A"]})
    # in the other's topics it may not even write: the broker drops that
    thief.device.client.publish(f"gateway_attributes/{gateway.key}", '{"A":{"x":"stolen"}}', 1)
    wait(lambda: site.otad.metric("otad_device_messages_refused_total", reason="unknown_device")
         >= refused + 4, "four refusals")  # fmt: skip
    thief.say("attributes", {"x": "own"})  # in order behind the others
    wait(lambda: thief.get(thief.key)["attributes"] == {"x": "own"}, "its own report")
    got = gateway.get(child["key"])
    assert got["attributes"]["x"] == "mine" and got["online"] is None


def test_devices_that_come_by_themselves(site):
    gateway = Gateway(site, max_children=3)
    open_kind = site.type(auto_create=True)
    site.otad.firmware(open_kind, "2.0.0")
    gateway.say("gateway_connect", {"device": "X", "product": gateway.kind})  # not allowed
    gateway.say("gateway_connect", {"device": "X"})
    gateway.say("gateway_connect", {"device": "S1", "product": open_kind})
    gateway.say("sub_attributes", {"S2": {"product": open_kind, "attributes": {"version": "1.0.0"}}})
    made = wait(lambda: len(gateway.behind()) == 2 and gateway.behind(), "two devices")
    assert set(made) == {"S1", "S2"}
    assert all(d["key"].startswith("SD_") and len(d["key"]) == 13 for d in made.values())
    assert made["S1"]["device_type"] == open_kind
    assert made["S1"]["online"] is True and made["S2"]["online"] is None
    assert gateway.check("sub", ["S2"])["params"]["version"] == "2.0.0"
    for n in range(3, 6):  # three is the most
        gateway.say("sub_connect", {"device": [f"S{n}"], "product": open_kind})
    gateway.say("attributes", {"done": 1})
    wait(lambda: gateway.get(gateway.key)["attributes"].get("done"), "all of it")
    assert set(gateway.behind()) == {"S1", "S2", "S3"}


def test_one_at_a_time(site, gateway):
    children = [gateway.child(address=x) for x in "AB"]
    gateway.say("gateway_attributes", {x: {"version": "1.0.0"} for x in "AB"})
    first = gateway.check("gateway", "A")
    assert gateway.check("gateway", "B")["params"]["upgrade"] is False  # A may begin any moment
    fetch(site.otad.port, first["params"]["url"])
    site.otad.wait_state(children[0]["key"], "downloaded")
    assert gateway.check("gateway", "B")["params"]["upgrade"] is False
    said = site.otad.ok("GET", f"/devices/{children[1]['key']}/explain")
    assert said["reason"] == "update_in_progress"
    params = said["reasons"][0]["params"]
    assert params["update"] == first["id"] and params["allowed"] == 1
    assert params["in_progress"] == 1 and params["state"] == "downloaded"

    kind = site.otad.ok("GET", f"/devices/{gateway.key}")["device_type"]
    assert site.otad.ok("PATCH", f"/device-types/{kind}", {"parallel_updates": 2})
    assert gateway.check("gateway", "B")["params"]["upgrade"] is True
    gateway.say("gateway_attributes", {"A": {"version": "2.0.0"}})
    site.otad.wait_state(children[0]["key"], "verified")


def test_receipts_come_when_the_type_wants_them(site):
    gateway = Gateway(site, attributes_response=True)
    site.otad.ok("PATCH", f"/device-types/{gateway.kind}", {"event_response": True})
    gateway.child(address="A")
    gateway.say("gateway_attributes", {"A": {"x": 1}})
    answer = gateway.device.receive("gateway_attributes_response")
    assert answer["error_code"] == 0 and answer["error_msg"] == "OK" and "device" not in answer
    gateway.say("sub_attributes", [{"device": ["A"], "attributes": {"x": 1}}])
    assert gateway.device.receive("sub_attributes_response")["error_code"] == 0
    gateway.say("sub_event_report", {"device": ["A"], "event": {"method": "hello"}})
    answer = gateway.device.receive("sub_event_response")
    assert answer["device"] == ["A"] and answer["error_code"] == 0


def test_addresses_over_rest(site, gateway):
    otad = site.otad
    a = gateway.child(address="A")
    clash = {"key": site.name("child"), "device_type": gateway.kind, "gateway": gateway.key}
    assert otad.rest("POST", "/devices", {**clash, "address": "A"}).status == 409
    for bad in ("", "a\nb", "x" * 65):
        assert otad.rest("POST", "/devices", {**clash, "address": bad}).status == 422
    b = otad.ok("POST", "/devices", {**clash, "address": "B"})
    assert otad.rest("PATCH", f"/devices/{b['key']}", {"address": "A"}).status == 409
    assert otad.ok("PATCH", f"/devices/{b['key']}", {"address": None})["address"] == b["key"]
    free = otad.ok("PATCH", f"/devices/{a['key']}", {"gateway": None})
    assert free["gateway"] is None and free["address"] is None
    assert otad.rest("DELETE", f"/devices/{gateway.key}").status == 409
