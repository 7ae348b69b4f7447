"""Rules: which event of which device makes a check of what, and what explain says of them; and
devices that tell in words of their own how an update goes."""
from otalib import wait


def rule(otad, device_type=None, **fields):
    owner = {"device_type": device_type} if device_type else {}
    return otad.ok("POST", "/rules", {**owner, **fields})["id"]


def explain(site, device, module="main"):
    return site.otad.ok("GET", f"/devices/{device.key}/explain?module={module}")


def silent(device, event):
    """The event gets no answer: the next question's is the first that comes."""
    device.publish("event_report", {"method": event, "params": {}})
    device.publish("attributes_get", {"keys": ["none"]})
    while True:
        topic, body, _ = device.inbox.get(timeout=60)
        assert topic != "command_send", body
        if topic == "attributes_get_response":
            return


def test_any_event_attribute_and_module_each_answered(site):
    """Several rules on one event: one answer each, every module by its own attribute."""
    kind = site.type()
    for module, attribute in (("mcu", "mcu 版本"), ("radio@2", "rf.ver")):
        rule(site.otad, kind, event="有更新吗?", version_attribute=attribute, module=module)
        site.otad.firmware(kind, "2.0", (f"{len(module)}.bin", b"x" * 99), module=module)
    device = site.device(kind)
    device.report(**{"version": "1.0", "mcu 版本": "1.0", "rf.ver": 1.5})
    device.publish("event_report", {"method": "有更新吗?", "params": {}})
    got = [device.receive()["params"] for _ in range(2)]
    assert [p["module"] for p in got] == ["mcu", "radio@2"]
    assert all(p["upgrade"] is True for p in got)
    assert device.nothing()["params"]["module"] == "main"
    # a module in the question picks its rule
    assert device.check("有更新吗?", {"module": "radio@2"})["params"]["module"] == "radio@2"
    silent(device, "有更新吗")


def test_a_module_is_answered_once(site):
    """Whatever rules name it for one event; the device's own comes first, and explain says so."""
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    again = rule(site.otad, kind, event="otaCheck", version_attribute="fw", module="main")
    own = rule(site.otad, device=device.key, event="otaCheck", version_attribute="version", module="main")
    assert device.check()["params"]["upgrade"] is True
    device.publish("attributes_get", {"keys": ["none"]})
    assert device.inbox.get(timeout=60)[0] == "attributes_get_response"
    said = {r["rule"]: r["code"] for r in explain(site, device)["rules"]}
    assert said.pop(own) == "applies" and said.pop(again) == "rule_doubled"
    assert list(said.values()) == ["rule_doubled"]
    # another event of the same module is no double
    rule(site.otad, kind, event="later", version_attribute="version", module="main")
    assert device.offer(event="later")


def test_a_rule_of_one_device(site):
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    mine, other = site.device(kind, "1.0"), site.device(kind, "1.0")
    own = rule(site.otad, device=mine.key, event="mine")
    assert mine.offer(event="mine")
    silent(other, "mine")
    site.otad.ok("DELETE", f"/rules/{own}")
    silent(mine, "mine")


def test_a_list_of_devices_takes_effect_at_once(site):
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    a, b = site.device(kind, "1.0"), site.device(kind, "1.0")
    only = site.otad.ok("GET", f"/rules?device_type={kind}")["items"][0]
    assert only["devices"] == []
    path = f"/rules/{only['id']}"
    assert site.otad.ok("PATCH", path, {"devices": [a.key]})["devices"] == [a.key]
    assert a.offer()
    silent(b, "otaCheck")
    said = explain(site, b)
    assert said["eligible"] is False and said["reason"] == "no_rule" and said["firmware"] is None
    assert said["rules"][0]["rule"] == only["id"]
    assert said["rules"][0]["code"] == "not_in_rule_list" and said["rules"][0]["text"]
    assert said["reasons"][0]["code"] == "no_rule" and "list" in said["reasons"][0]["text"]
    assert said["reasons"][1]["code"] == "eligible"
    assert explain(site, a)["rules"][0]["code"] == "applies"
    # its version is known all the same
    b.report(version="1.1")
    wait(lambda: explain(site, b)["current_version"] == "1.1", "the version")
    site.otad.ok("PATCH", path, {"devices": [a.key, b.key]})
    assert b.offer()
    site.otad.ok("PATCH", path, {"devices": []})
    assert site.device(kind, "1.0").offer()


def test_enable_disable_and_why(site):
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    path = f"/rules/{site.otad.ok('GET', f'/rules?device_type={kind}')['items'][0]['id']}"
    assert device.offer()
    site.otad.ok("PATCH", path, {"enabled": False})
    silent(device, "otaCheck")
    said = explain(site, device)
    assert said["reason"] == "no_rule" and said["rules"][0]["code"] == "rule_disabled"
    assert said["reasons"][0]["params"] == {"module": "main", "disabled": 1, "not_listed": 0}
    site.otad.ok("PATCH", path, {"enabled": True, "event": "other"})
    silent(device, "otaCheck")
    assert device.offer(event="other")
    assert explain(site, device)["reason"] == "eligible"
    said = explain(site, device, "unheard-of")
    assert said["reason"] == "no_rule" and said["rules"] == []
    assert "unheard-of" in said["reasons"][0]["text"]


def test_progress_in_words_of_the_device(site):
    """The attribute of one type, the event of another; behind a gateway, too."""
    told = {"attribute": "ota_state", "percent_field": "ota_percent", "text_field": "ota_error",
            "states": {"DOWNLOADING": "downloading", "2": "installing", "FAIL": "failed"}}  # fmt: skip
    kind = site.type(progress=told)
    assert site.otad.ok("GET", f"/device-types/{kind}")["progress"] == told
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    key = f"{device.key}-child"
    site.otad.ok("POST", "/devices", {"key": key, "device_type": kind, "gateway": device.key,
                                      "address": "A"})  # fmt: skip
    offer = device.offer()
    device.report(ota_state="DOWNLOADING", ota_percent=40)
    assert site.otad.wait_state(device.key, "downloading")["percent"] == 40
    device.report(ota_state=2)
    site.otad.wait_state(device.key, "installing")
    refused = site.otad.metric("otad_update_transitions_refused_total")
    unknown = site.otad.metric("otad_device_messages_refused_total", reason="bad_progress")
    device.report(ota_state="DOWNLOADING")
    device.report(ota_state="WHATEVER")
    device.report(ota_state="FAIL", ota_error="flash is write-protected")
    update = site.otad.wait_state(device.key, "planned")
    assert update["id"] == offer["id"] and update["history"][-1]["text"] == (
        "attempt 1 failed: the device reports FAIL: flash is write-protected")  # fmt: skip
    assert site.otad.metric("otad_update_transitions_refused_total") == refused + 1
    assert site.otad.metric("otad_device_messages_refused_total", reason="bad_progress") == unknown + 1

    site.otad.ok("PATCH", f"/device-types/{kind}", {"progress": {
        "event": "otaFinished", "state_field": "ota_result",
        "states": {"0": "installed", "1": "failed"}}})  # fmt: skip
    device.publish("gateway_event_report", {"device": "A", "event": {
        "method": "otaCheck", "params": {"version": "1.0"}}})  # fmt: skip
    site.otad.wait_state(key, "offered")
    device.publish("gateway_event_report", {"device": "A", "event": {
        "method": "otaFinished", "params": {"ota_result": 0}}})  # fmt: skip
    site.otad.wait_state(key, "installed")
    device.publish("gateway_attributes", {"A": {"version": "2.0"}})
    site.otad.wait_state(key, "verified")
