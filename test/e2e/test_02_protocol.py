"""Oddities of devices: counted by kind, never fatal, nothing lost for others."""
import json

import pytest

from otalib import wait


def refused(otad, reason):
    return otad.metric("otad_device_messages_refused_total", reason=reason)


def deep(n):
    return '{"a":' * n + "1" + "}" * n


@pytest.mark.parametrize(
    "topic, payload, reason",
    [
        ("attributes", b"\xff\xfe not json", "not_json"),
        ("attributes", b"", "not_json"),
        ("attributes", b"[1,2]", "wrong_type"),
        ("attributes", b'{"version":"1","version":"2"}', "duplicate_key"),
        ("attributes", deep(100).encode(), "too_deep"),
        ("attributes", b'{"x":"' + b"y" * 70000 + b'"}', "too_long"),
        ("attributes", b'{"version":"1"} trailing', "not_json"),
        ("event_report", b'{"params":{}}', "wrong_type"),
        ("event_report", b'{"method":17}', "wrong_type"),
        ("event_report", b'{"method":"otaCheck","params":[1]}', "wrong_type"),
        ("attributes_get", b'{"keys":"version"}', "wrong_type"),
        ("attributes_get", b'{"keys":[1]}', "wrong_type"),
        ("command_reply", b'{"method":"otaUpgrade","params":{},"id":"x"}', "wrong_type"),
        ("command_reply", b'{"method":"otaUpgrade","params":{},"id":7}', "reply_unmatched"),
        ("attributes", b'{"version":"\\u0007"}', "bad_version"),
        ("attributes", b'{"version":"' + b"9" * 65 + b'"}', "bad_version"),
    ],
)
def test_refused_and_counted(site, upgrade, topic, payload, reason):
    before = refused(site.otad, reason)
    upgrade.device.publish(topic, payload)
    wait(lambda: refused(site.otad, reason) > before, f"{reason} is counted")
    # it didn't hurt: the same device and another one are served
    assert upgrade.device.offer()["params"]["version"] == "2.0.0"
    other = site.device(upgrade.type, "1.0.0")
    assert other.offer()["params"]["version"] == "2.0.0"


def test_a_message_of_megabytes_does_not_reach_us(site, upgrade):
    """The broker keeps it back: no memory of ours, and the next message is served."""
    def resident():
        return site.otad.metric("process_resident_memory_bytes")

    assert upgrade.device.offer()
    before = resident()
    for _ in range(4):
        upgrade.device.publish("attributes", b'{"x":"' + b"y" * 20_000_000 + b'"}')
    assert upgrade.device.offer()["params"]["version"] == "2.0.0"
    assert resident() - before < 8 << 20


def test_topic_of_an_unregistered_device(site, upgrade):
    """otad's own login may write anywhere: stands in for a broker that lets anybody in."""
    from otalib import Device

    before = refused(site.otad, "unknown_device")
    stranger = Device(site.broker, "otad", site.otad.password)
    site.devices.append(stranger)
    stranger.connected()
    stranger.key = "DU_nobody"
    for _ in range(50):
        stranger.publish("attributes", {"version": "1.0"})
    wait(lambda: refused(site.otad, "unknown_device") >= before + 50, "all are counted")
    lines = [x for x in site.otad.logs().splitlines() if "DU_nobody" in x]
    assert len(lines) <= 2, "logged once per device and minute at most"
    upgrade.device.offer()


def test_disabled_device(site, upgrade):
    """Its login goes; what arrives all the same (another broker, a session left) gets nothing."""
    from otalib import Device

    key = upgrade.device.key
    upgrade.device.offer()
    site.otad.ok("PATCH", f"/devices/{key}", {"enabled": False})
    wait(lambda: f"{key}:" not in (site.broker.auth / "passwd").read_text(), "its login goes")
    proxy = Device(site.broker, "otad", site.otad.password)
    site.devices.append(proxy)
    proxy.connected()
    proxy.key = key
    proxy.client.subscribe(f"command_send/{key}", 1)
    proxy.nothing()
    said = site.otad.ok("GET", f"/devices/{key}/explain?module=main")
    assert said["reason"] == "device_disabled"
    site.otad.ok("PATCH", f"/devices/{key}", {"enabled": True})
    assert proxy.offer()["params"]["version"] == "2.0.0"


def test_retained_messages_are_not_acted_on_at_connect(site, upgrade):
    """A retained check must not be answered at each reconnect of otad."""
    upgrade.device.publish("event_report", {"method": "otaCheck", "params": {}}, retain=True)
    upgrade.device.receive()
    asked = site.otad.metric("otad_ota_checks_total")
    site.restart_broker(upgrade.device)
    upgrade.device.offer()
    assert site.otad.metric("otad_ota_checks_total") == asked + 1
    upgrade.device.publish("event_report", b"", retain=True)


def test_repeated_check_repeats_the_offer(site, upgrade):
    first = upgrade.device.offer()
    repeated = site.otad.metric("otad_ota_checks_total", result="repeated")
    again = [upgrade.device.offer() for _ in range(5)]
    assert {a["id"] for a in again} == {first["id"]}
    assert {json.dumps(a["params"], sort_keys=True) for a in again} == {
        json.dumps(first["params"], sort_keys=True)
    }
    assert site.otad.metric("otad_ota_checks_total", result="repeated") >= repeated + 5
    assert len(site.otad.updates(upgrade.device.key)) == 1


def test_attributes_get(site):
    device = site.device()
    device.report(version="1.0", switch=True, t=28.5, gone="x", obj={"a": [1, None]})
    device.report(gone=None)
    device.publish("attributes_get", {"keys": ["t", "switch", "missing"]})
    answer = device.receive("attributes_get_response")
    assert answer["error_code"] == 0 and answer["error_msg"] == ""
    assert answer["attributes"] == {"t": 28.5, "switch": True}
    assert answer["ts"] > 1_600_000_000_000
    device.publish("attributes_get", {"keys": []})
    everything = device.receive("attributes_get_response")["attributes"]
    assert everything == {"version": "1.0", "switch": True, "t": 28.5, "obj": {"a": [1, None]}}


def test_responses_are_off_by_default_and_can_be_on(site):
    quiet = site.device()
    quiet.report(version="1.0")
    quiet.nothing()
    assert quiet.inbox.empty(), "nothing but the answer came"

    kind = site.type(attributes_response=True, event_response=True)
    loud = site.device(kind)
    loud.report(version="1.0")
    said = loud.receive("attributes_response")
    assert said["error_code"] == 0 and said["error_msg"] == "OK" and said["ts"] > 0
    loud.publish("event_report", {"method": "hello", "params": {}})
    assert loud.receive("event_response")["error_code"] == 0


def test_event_without_rule_is_counted_and_silent(site, upgrade):
    before = site.otad.metric("otad_device_events_without_rule_total")
    upgrade.device.publish("event_report", {"method": "somethingElse", "params": {}})
    upgrade.device.offer()
    assert site.otad.metric("otad_device_events_without_rule_total") == before + 1


def test_version_forms(site):
    """A number is a version too; null is none."""
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    device = site.device(kind)
    device.report(version=None)
    device.nothing()
    device.report(version="v1.9 ")
    assert device.offer()["params"]["version"] == "2.0"


def test_attribute_bounds(site):
    device = site.device(version="1.0")
    before = refused(site.otad, "attribute_limit")
    device.report(**{f"a{i}": i for i in range(300)})
    wait(lambda: refused(site.otad, "attribute_limit") > before, "the bound is counted")
    device.publish("attributes_get", {"keys": []})
    assert device.receive("attributes_get_response")["attributes"] == {"version": "1.0"}


def test_devices_see_only_their_own_topics(site, upgrade):
    """The ACL that otad writes."""
    spy = site.device(upgrade.type, "1.0.0")
    spy.client.subscribe([("command_send/#", 1), ("#", 1)])
    spy.client.publish(f"attributes/{upgrade.device.key}", '{"version":"99.0"}', 1)
    upgrade.device.offer()
    spy.offer()
    assert spy.inbox.empty(), "the other device's offer was not seen"
    shown = site.otad.ok("GET", f"/devices/{upgrade.device.key}")
    assert shown["versions"]["main"]["version"] == "1.0.0"
