"""More of ThingsCloud: devices over HTTP, and attributes of times past."""
import json
import time

import pytest
from conftest import Site
from otalib import at_headers, fetch, noise, request, wait

from test_13_plugin import BARE, Client, register


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"), plugin=True)
    wait(lambda: "plugin is there" in site.otad.logs(), "otad hears the plugin")
    yield site
    site.close()


def http(site, key, method, path, body=None, password=None, **headers):
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    headers = {"Project-Key": password or f"secret-of-{key}", "Content-Type": "application/json",
               **headers}  # fmt: skip
    return request(site.otad.port, method, f"/device/v1/{key}/{path}", body, headers)


def say(site, key, path, body):
    answer = http(site, key, "POST", path, body)
    assert answer.status == 200 and answer.json()["result"] == 1, answer
    return answer.json()


def check(site, key):
    """What the answer to an otaCheck brings; of offers there may be kept ones beside it."""
    return say(site, key, "event/report", {"method": "otaCheck", "params": {}})


def test_a_device_upgrades_over_http_alone(site):
    kind = site.type()
    data = noise(kind)
    site.otad.firmware(kind, "2.0.0", ("app.bin", data))
    key = register(site, kind)
    got = say(site, key, "attributes", {"version": "1.0.0", "键": {"a": [1]}})
    assert set(got) == {"result", "message", "ts"}
    (offer,) = check(site, key)["commands"]
    update = site.otad.updates(key)[0]
    assert offer["method"] == "otaUpgrade" and offer["id"] == update["id"]
    assert offer["params"]["version"] == "2.0.0"
    assert check(site, key)["commands"][0]["id"] == offer["id"], "asked again, the same offer"
    assert fetch(site.otad.port, offer["params"]["url"]).body == data
    site.otad.wait_state(key, "downloaded")
    say(site, key, "attributes", {"version": "2.0.0"})
    site.otad.wait_state(key, "verified")
    (nothing,) = check(site, key)["commands"]
    assert nothing["params"] == {"module": "main", "upgrade": False} and nothing["id"] == 0
    assert say(site, key, "event/report", {"method": "hello"})["commands"] == []
    device = site.otad.ok("GET", f"/devices/{key}")
    assert device["attributes"]["键"] == {"a": [1]}
    wait(lambda: site.otad.ok("GET", f"/devices/{key}")["last_seen_at"], "it was heard")


def test_stored_attributes(site):
    key = register(site)
    say(site, key, "attributes", {"a": 1, "b": "x", "键": [True]})
    say(site, key, "attributes", {"b": None})
    for query, want in (("", {"a": 1, "键": [True]}), ("?keys=a,b", {"a": 1}),
                        ("?keys=,%E9%94%AE", {"键": [True]}), ("?keys=no", {})):  # fmt: skip
        answer = http(site, key, "GET", "attributes" + query)
        assert answer.status == 200 and answer.json()["attributes"] == want, (query, answer)
    assert http(site, key, "HEAD", "attributes").status == 200


def test_who_listens_over_mqtt_gets_it_there_as_well(site):
    kind = site.type(event_response=True, attributes_response=True)
    site.otad.firmware(kind, "2.0.0")
    key = register(site, kind)
    c = Client(site, key).connected()
    c.subscribe(*BARE)
    say(site, key, "attributes", {"version": "1.0.0"})
    (offer,) = check(site, key)["commands"]
    topic, body = c.next()  # and no receipts: those who ask over HTTP have their answer
    assert topic == f"command/send/{offer['id']}" and body == offer
    # from here on it is spoken to in ThingsCloud's way
    assert site.otad.rest("POST", f"/devices/{key}/commands", {"method": "blink"}).status == 202
    assert c.next()[1]["method"] == "blink"
    assert c.inbox.empty()


def test_what_is_kept_comes_with_an_event(site):
    kind = site.type()
    key = register(site, kind)
    say(site, key, "attributes", {"version": "1.0.0"})
    site.otad.firmware(kind, "2.0.0")
    runs = []
    for action in ({"kind": "ota_push", "version_attribute": "version", "module": "main"},
                   {"kind": "command_send", "method": "beep", "params": {"n": 1}},
                   {"kind": "attributes_push", "attributes": {"led": "on"}}):  # fmt: skip
        task = site.otad.ok("POST", "/tasks", {"name": "t", "action": action,
                                               "target": {"devices": [key]}})  # fmt: skip
        run = site.otad.ok("POST", f"/tasks/{task['id']}/run")["run_id"]
        runs.append(f"/tasks/{task['id']}/runs/{run}")
    results = lambda: [c["result"] for r in runs for c in site.otad.ok("GET", r)["counts"]]  # noqa: E731
    wait(lambda: results() == ["pending_offline"] * 3, "all of it is kept")
    say(site, key, "attributes", {"version": "1.0.0", "t": 1})
    assert results() == ["pending_offline"] * 3, "an answer without room for it takes nothing"
    got = say(site, key, "event/report", {"method": "hello"})
    assert {c["method"] for c in got["commands"]} == {"otaUpgrade", "beep"}
    assert got["attributes_push"] == [{"led": "on"}]
    assert sorted(results()) == ["offered", "sent", "sent"]
    got = say(site, key, "event/report", {"method": "hello"})
    assert got["commands"] == [] and got["attributes_push"] == [], "once"


def test_while_the_broker_is_away(make_site):
    """The answer does not need it; and what could not go there is no loss."""
    site = make_site(plugin=True)
    kind = site.type()
    site.otad.firmware(kind, "2.0.0")
    key = register(site, kind)
    site.broker.stop()
    wait(lambda: site.otad.metric("otad_mqtt_connected") == 0, "otad notices")
    say(site, key, "attributes", {"version": "1.0.0"})
    (offer,) = check(site, key)["commands"]
    assert offer["params"]["version"] == "2.0.0"
    site.broker.start()
    site.otad.wait_for("/readyz")


def test_who_is_refused(make_site):
    site = make_site({"http.auth_failures_per_minute": 1000})
    key, other = register(site), register(site)
    for password, who in (("wrong", key), (f"secret-of-{other}", key), ("x", "nobody"),
                          (f"secret-of-{key}", "a:b"), ("default", key)):  # fmt: skip
        answer = http(site, who, "POST", "attributes", {"a": 1}, password)
        assert (answer.status, answer.json()["code"]) == (401, "unauthorized"), (password, who)
    answer = request(site.otad.port, "POST", f"/device/v1/{key}/attributes", '{"a": 1}')
    assert answer.status == 401, "without Project-Key"
    for path, body, status, code in (
        ("attributes", "{", 400, "malformed_json"),
        ("attributes", '{"a": 1, "a": 2}', 400, "malformed_json"),
        ("attributes", "[" * 40 + "]" * 40, 400, "malformed_json"),
        ("attributes", "", 400, "malformed_json"),
        ("attributes", "[1]", 422, "validation_failed"),
        ("attributes", {f"a{i}": i for i in range(257)}, 422, "attribute_limit"),
        ("attributes", {"a": "x" * 65536}, 413, None),
        ("event/report", {"params": {}}, 422, "validation_failed"),
        ("event/report", {"method": "x", "params": 1}, 422, "validation_failed"),
    ):
        answer = http(site, key, "POST", path, body)
        assert answer.status == status, (path, body, answer)
        assert code in (None, answer.json()["code"])
    assert site.otad.ok("GET", f"/devices/{key}")["attributes"] == {}
    assert site.otad.metric("otad_device_messages_refused_total", reason="attribute_limit") == 1
    say(site, key, "attributes", {"a": 1})
    site.otad.ok("PATCH", f"/devices/{key}", {"enabled": False})
    assert http(site, key, "POST", "attributes", {"a": 2}).status == 401


def test_who_is_refused_is_told_before_the_body(site):
    key = register(site)
    for who, password in ((key, "wrong"), ("nobody", f"secret-of-{key}")):
        for path in ("attributes", "event/report"):
            assert at_headers(site.otad.port, "POST", f"/device/v1/{who}/{path}",
                              Project_Key=password) == 401  # fmt: skip


def test_guessing_is_slow(make_site):
    site = make_site({"http.auth_failures_per_minute": 3})
    key, other = register(site), register(site)
    say(site, key, "attributes", {"a": 1})
    for _ in range(3):
        assert http(site, other, "POST", "attributes", {}, "guess").status == 401
    answer = http(site, other, "POST", "attributes", {})
    assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
    say(site, key, "attributes", {"a": 2})  # who was right lately is heard on
    # nor does one device lock out the others behind the same address, or an operator there
    for _ in range(30):
        assert http(site, other, "POST", "attributes", {}, "guess").status in (401, 429)
    say(site, register(site), "attributes", {"a": 1})
    assert site.otad.rest("GET", "/device-types", token="wrong").status == 401
    # but who tries one device after the other does
    seen, n = set(), 0
    while 429 not in seen:
        n += 1
        seen.add(http(site, f"nobody-{n}", "POST", "attributes", {}, "guess").status)
    assert n > 3 and seen == {401, 429}
    say(site, key, "attributes", {"a": 3})


# ---- attributes/series ----


def test_of_attributes_of_times_past_the_newest_counts(site):
    kind = site.type(attributes_response=True)
    site.otad.firmware(kind, "2.0.0")
    site.otad.firmware(kind, "3.0.0", source_versions=["2.0.0"])
    key = register(site, kind)
    c = Client(site, key).connected()
    c.subscribe(*BARE, "attributes/series/response")
    hour, now = 3600 * 1000, int(time.time() * 1000)

    def series(*entries):
        c.publish("attributes/series", [{"ts": ts, "attributes": a} for ts, a in entries])
        topic, body = c.next()
        assert topic == "attributes/series/response" and body["error_code"] == 0
        return site.otad.ok("GET", f"/devices/{key}")

    got = series((now - 2 * hour, {"version": "1.0.1", "t": 2}), (now - 3 * hour, {"version": "1.0.0", "h": 60}))
    assert got["attributes"] == {"version": "1.0.1", "t": 2, "h": 60}
    assert got["versions"]["main"]["version"] == "1.0.1"
    _, offer = c.check()
    assert offer["params"]["version"] == "2.0.0"
    c.publish("attributes", {"version": "2.0.0"})
    assert c.next()[0] == "attributes/response"
    site.otad.wait_state(key, "verified")
    # what it was before undoes nothing; the rest is news
    got = series((now - hour, {"version": "1.0.1", "t": 3}))
    assert got["versions"]["main"]["version"] == "2.0.0"
    assert got["attributes"] == {"version": "2.0.0", "t": 3, "h": 60}
    assert site.otad.updates(key)[0]["state"] == "verified"
    # of now, or without a time, it is a report as any other
    assert c.check()[1]["params"]["version"] == "3.0.0"
    got = series((now + hour, {"version": "3.0.0"}))
    assert got["versions"]["main"]["version"] == "3.0.0"
    site.otad.wait_state(key, "verified")


def test_series_of_those_behind_a_gateway(site):
    kind = site.type()
    key = register(site, site.type(attributes_response=True))
    for address in ("A1", "A2"):
        site.otad.ok("POST", "/devices", {"key": site.name("SUB"), "device_type": kind,
                                          "gateway": key, "address": address})  # fmt: skip
    g = Client(site, key).connected()
    g.subscribe("gateway/attributes/series/response")
    g.publish("gateway/attributes/series", {
        "A1": [{"ts": 1700000060, "attributes": {"version": "1.1"}},
               {"ts": 1700000000, "attributes": {"version": "1.0"}}],
        "A2": {"1700000000000": {"version": "0.9"}}})  # fmt: skip
    topic, body = g.next()
    assert topic == "gateway/attributes/series/response" and body["error_code"] == 0
    items = site.otad.ok("GET", f"/devices?gateway={key}")["items"]
    versions = {i["address"]: i["versions"]["main"]["version"] for i in items}
    assert versions == {"A1": "1.1", "A2": "0.9"}
    g.publish("gateway/attributes/series", {"A9": [], "A1": []})
    assert g.next()[1]["error_code"] == -3
