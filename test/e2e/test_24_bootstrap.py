"""Bootstrap: devices fetch their login themselves, and nobody takes over another's."""
import json
import shutil
import subprocess

import pytest
from conftest import Site
from otalib import noise, request, wait


def conf(broker):
    return {"connect.host": "127.0.0.1", "connect.mqtt_port": broker.port, "connect.mqtts_port": 8883}


@pytest.fixture(scope="module")
def booting_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("boot"), conf)
    yield site
    site.close()


@pytest.fixture(scope="module")
def plugged_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("boot-plugin"), conf, plugin=True)
    yield site
    site.close()


@pytest.fixture
def boot(booting_site):
    yield booting_site
    booting_site.release()


@pytest.fixture
def plugged(plugged_site):
    wait(lambda: "plugin is there" in plugged_site.otad.logs(), "the plugin speaks")
    yield plugged_site
    plugged_site.release()


def allow(site, bootstrap="once", create=0):
    return site.otad.ok("PATCH", "/projects/default",
                        {"bootstrap": bootstrap, "bootstrap_create": create})  # fmt: skip


def left(site):
    return site.otad.ok("GET", "/projects/default")["bootstrap_create"]


def ask(site, way, body=None, method="GET", headers=None, **query):
    text = "&".join(f"{k}={v}" for k, v in query.items())
    if isinstance(body, dict):
        body, method = json.dumps(body), "POST"
    return request(site.otad.port, method, f"/api/connect/{way}/?{text}", body, headers)


def code(answer):
    return answer.status, answer.json().get("code")


def certificate(site, body, project="default"):
    return request(site.otad.port, "POST", "/device/v1/certificate", json.dumps(body),
                   {"Project-Key": project, "Content-Type": "application/json"})  # fmt: skip


def works(site, key, password):
    """The broker knows the login."""
    done = subprocess.run(
        ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(site.broker.port), "-u", key, "-P", password,
         "-i", f"try-{key}", "-t", "nothing", "-m", ""], capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def test_off_unless_a_project_says_so(boot):
    allow(boot, "off", 5)
    kind = boot.type()
    assert code(ask(boot, 1, project="default", product=kind, sn="s1")) == (420, "unknown_project")
    assert code(ask(boot, 2, product=kind, sn="s1")) == (436, "unknown_product")
    assert certificate(boot, {"device_key": "s1", "type_key": kind}).status == 420
    fresh = boot.otad.ok("POST", "/projects", {"key": boot.name("p"), "name": "p"})
    assert (fresh["bootstrap"], fresh["bootstrap_create"]) == ("off", 0)
    assert boot.otad.ok("GET", f"/devices?device_type={kind}")["items"] == []


def test_a_new_device_with_curl_and_mosquitto(boot):
    """Type and device come to be, the answer's login works, and the device is upgraded."""
    allow(boot, create=2)
    kind, sn = boot.name("PK_"), boot.name("10000000")
    url = f"http://127.0.0.1:{boot.otad.port}/api/connect/1/?project=default&product={kind}&sn={sn}"
    done = subprocess.run([shutil.which("curl"), "-sSf", url], capture_output=True, check=True)
    got = json.loads(done.stdout)
    login = got["mqtt"]
    key = login["username"]
    assert key.startswith("DU_") and len(key) == 13 and len(login["password"]) == 24
    assert (login["host"], login["port"]) == ("127.0.0.1", boot.broker.port)
    assert got["mqtts"] == {**login, "port": 8883} and "tcp" not in got
    assert got["topic"]["event_report"] == f"event_report/{key}"
    assert got["topic"]["sub_connect"] == f"gateway_connect/{key}"
    assert len(got["topic"]) == 20
    row = boot.otad.ok("GET", f"/devices/{key}")
    assert (row["sn"], row["device_type"], row["enabled"]) == (sn, kind, True)
    assert left(boot) == 1
    data = noise(kind)
    boot.otad.firmware(kind, "2.0.0", ("fw.bin", data))
    device = boot.connect(key, login["password"])
    device.report(version="1.0.0")
    offer = device.offer()["params"]
    assert offer["version"] == "2.0.0"
    assert request(boot.otad.port, "GET", "/d/" + offer["url"].split("/d/")[1]).body == data
    device.report(version="2.0.0")
    boot.otad.wait_state(key, "verified")


def test_the_same_device_until_it_is_heard(boot):
    allow(boot, create=10)
    kind = boot.type()
    same = {"project": "default", "product": kind, "sn": boot.name("sn")}
    first, second = (ask(boot, 1, **same).json()["mqtt"] for _ in range(2))
    assert first["username"] == second["username"] and first["password"] != second["password"]
    key = second["username"]
    assert left(boot) == 9
    device = boot.connect(key, second["password"])
    assert not works(boot, key, first["password"])
    device.report(version="1.0.0")
    assert code(ask(boot, 1, **same)) == (401, "device_taken")
    assert code(ask(boot, 2, product=kind, sn=same["sn"])) == (401, "device_taken")
    assert certificate(boot, {"device_key": same["sn"], "type_key": kind}).status == 401
    boot.otad.kill()
    boot.otad.start()
    assert code(ask(boot, 1, **same)) == (401, "device_taken"), "a crash opens nothing"
    assert works(boot, key, second["password"])
    # it was reset: an operator lets it have another
    boot.otad.ok("POST", f"/devices/{key}/bootstrap")
    device.close()
    third = ask(boot, 1, **same).json()["mqtt"]
    assert third["username"] == key
    wait(lambda: works(boot, key, third["password"]), "the new login works")
    assert not works(boot, key, second["password"])
    boot.otad.ok("PATCH", f"/devices/{key}", {"password": "of-the-operator"})
    assert code(ask(boot, 1, **same)) == (401, "device_taken")


def test_a_stranger_takes_nothing(boot):
    """What an operator registered with a password is never handed out."""
    kind, other = boot.type(), boot.type()
    key = boot.name("DU_own")
    boot.otad.device(key, kind, sn="owned-1")
    for bootstrap in ("once", "always"):
        allow(boot, bootstrap, 10)
        assert code(ask(boot, 1, project="default", product=kind, sn="owned-1")) == (401, "device_taken")
        assert certificate(boot, {"device_key": "owned-1"}).status == 401
    wait(lambda: works(boot, key, f"secret-of-{key}"), "its own login stays")
    hub = boot.name("DU_hub")
    boot.otad.device(hub, kind)
    boot.otad.ok("POST", "/devices", {"key": boot.name("A"), "device_type": other, "gateway": hub, "sn": "behind"})
    assert code(ask(boot, 2, product=other, sn="behind")) == (401, "no_login")
    boot.otad.ok("PATCH", f"/devices/{key}", {"enabled": False})
    assert code(ask(boot, 2, product=kind, sn="owned-1")) == (401, "device_disabled")


def test_registered_without_a_password(boot):
    """/api/connect/2: the device was imported, and fetches its first login."""
    allow(boot)
    kind = boot.type()
    a, b, c = (boot.name("DU_imp") for _ in range(3))
    rows = "key,device_type,sn\n" + "".join(
        f"{k},{kind},{s}\n" for k, s in ((a, "imp-1"), (b, "imp-2"), (c, "imp-2")))  # fmt: skip
    answer = boot.otad.rest("POST", "/devices/import", rows, headers={"Content-Type": "text/csv"})
    assert answer.status == 200, answer
    assert code(certificate(boot, {"device_key": "imp-1"})) == (401, "device_taken")
    got = ask(boot, 2, {"product": kind, "sn": "imp-1"}).json()["mqtt"]
    assert got["username"] == a
    boot.connect(a, got["password"]).report(version="1")
    assert code(ask(boot, 2, product=kind, sn="imp-1")) == (401, "device_taken")
    assert code(ask(boot, 2, product=kind, sn="imp-2")) == (401, "ambiguous")
    assert code(ask(boot, 2, product=kind, sn="imp-9")) == (401, "unknown_device")
    assert code(ask(boot, 2, product="PK_none", sn="imp-1")) == (436, "unknown_product")


def test_parameters(boot):
    allow(boot, create=1)
    kind = boot.type()
    path = f"/api/connect/1?project=default&product={kind}&sn=from-query"
    got = request(boot.otad.port, "POST", path, '{"sn": 17}').json()
    assert boot.otad.ok("GET", f"/devices/{got['mqtt']['username']}")["sn"] == "17"
    assert left(boot) == 0
    assert code(ask(boot, 1, project="default", product=kind, sn="next")) == (401, "unknown_device")
    assert code(ask(boot, 1, project="default", product=boot.name("PK_"), sn="next"))[0] == 436
    assert code(ask(boot, 1, project="default", product=kind))[0] == 401
    assert code(ask(boot, 1, project="default", sn="x"))[0] == 436
    assert code(ask(boot, 1, product=kind, sn="x"))[0] == 420
    assert code(ask(boot, 1, project="default", product=kind, sn="x" * 129))[0] == 401
    assert code(ask(boot, 1, project="default", product="a%20b", sn="x"))[0] == 436
    assert code(ask(boot, 1, "[1]", "POST")) == (400, "malformed_json")
    assert request(boot.otad.port, "HEAD", path).status == 405
    # a second project with a product of the same name: the device says which
    other = boot.name("PR_")
    token = boot.otad.ok("POST", "/projects", {"key": other, "name": "o", "bootstrap": "once",
                                               "bootstrap_create": 1})["token"]  # fmt: skip
    boot.otad.ok("POST", "/device-types", {"key": kind}, token=token)
    mine = ask(boot, 1, project=other, product=kind, sn="there").json()["mqtt"]["username"]
    assert boot.otad.rest("GET", f"/devices/{mine}").status == 404
    assert ask(boot, 2, product=kind, sn="there").json()["mqtt"]["username"] == mine


def test_always(boot):
    allow(boot, "always", 1)
    same = {"project": "default", "product": boot.type(), "sn": boot.name("sn")}
    first = ask(boot, 1, **same).json()["mqtt"]
    boot.connect(first["username"], first["password"]).report(version="1")
    second = ask(boot, 1, **same).json()["mqtt"]
    assert second["username"] == first["username"]
    wait(lambda: works(boot, second["username"], second["password"]), "the new login works")


def rows_of(site, token=True):
    return [x for x in site.otad.ok("GET", "/audit?limit=500", token=token)["items"] if "connect" in x["action"]
            or "certificate" in x["action"]]  # fmt: skip


def test_no_password_is_kept(boot):
    """Not in the audit log, and not in a byte of the database; the project's admins see that a login
    was made."""
    other = boot.name("PR_")
    token = boot.otad.ok("POST", "/projects", {"key": other, "name": "o", "bootstrap": "once",
                                               "bootstrap_create": 1})["token"]  # fmt: skip
    same = {"project": other, "product": boot.name("PK_"), "sn": boot.name("sn")}
    logins = [ask(boot, 1, **same).json()["mqtt"] for _ in range(3)]
    (row,) = rows_of(boot, token)
    assert row["after"] == {"device": logins[0]["username"], "sn": same["sn"]} and row["before"] is None
    assert (row["project"], row["who"], row["address"]) == (other, "", "127.0.0.1")
    export = boot.otad.rest("GET", "/audit/export?all=1").body.decode()
    data = [f.read_bytes() for f in boot.otad.data.glob("otad.db*")]
    assert len(data) >= 2
    for login in logins:
        assert login["password"] not in export
        assert not any(login["password"].encode() in d for d in data)
    # an operator opens it again: what replaces the login is told once more
    boot.otad.ok("POST", f"/devices/{logins[0]['username']}/bootstrap", token=token)
    for _ in range(2):
        assert ask(boot, 1, **same).status == 200
    assert len(rows_of(boot, token)) == 2


def test_always_adds_no_row_at_each_boot(boot):
    allow(boot, "always", 1)
    same = {"project": "default", "product": boot.type(), "sn": boot.name("sn")}
    before = len(rows_of(boot))
    key = ask(boot, 1, **same).json()["mqtt"]["username"]
    for _ in range(4):
        login = ask(boot, 1, **same).json()["mqtt"]
        wait(lambda: works(boot, key, login["password"]), "the new login works")
        boot.connect(key, login["password"]).report(version="1")
    assert len(rows_of(boot)) == before + 1
    assert boot.otad.logs().count(f"device={key} sn=") == 5, "each one stands in the log"


def test_limit_per_address(make_site):
    site = make_site(lambda b: {**conf(b), "connect.per_hour": 3})
    for _ in range(3):
        assert ask(site, 2, product="x", sn="y").status == 436
    full = ask(site, 2, product="x", sn="y")
    assert full.status == 429 and 1 <= int(full.headers["Retry-After"]) <= 1201
    assert certificate(site, {"device_key": "a"}).status == 429
    assert site.otad.rest("GET", "/devices").status == 200, "others are not meant"
    assert site.otad.metric("otad_bootstrap_requests_total", result="limited") == 2


def test_certificate_of_a_gateway(plugged):
    """A device is told that it is a gateway: by its type, or because something is behind it."""
    allow(plugged, create=3)
    hub, plain = plugged.type(gateway=True), plugged.type()
    told = lambda sn, kind: certificate(  # noqa: E731
        plugged, {"device_key": sn, "type_key": kind}).json()["device"]  # fmt: skip
    one, two, three = (plugged.name("sn") for _ in "abc")
    assert told(one, hub)["conn_type"] == "3"
    device = told(two, plain)
    assert device["conn_type"] == "1"
    plugged.otad.ok("POST", "/devices", {"key": plugged.name("SUB"), "device_type": plain,
                                         "gateway": device["access_token"], "address": "A1"})  # fmt: skip
    assert told(two, plain)["conn_type"] == "3"
    plugged.otad.ok("PATCH", f"/device-types/{hub}", {"gateway": False})
    assert told(three, hub)["conn_type"] == "1"
    assert plugged.otad.ok("GET", f"/device-types/{hub}")["gateway"] is False


def test_certificate(plugged):
    """A ThingsCloud device: the answer's AccessToken and the ProjectKey are its login."""
    allow(plugged, create=2)
    kind, sn = plugged.name("type"), plugged.name("8600000")
    got = certificate(plugged, {"device_key": sn, "type_key": kind, "customer_id": "c"}).json()
    assert got["result"] == 1 and got["device"]["conn_type"] == "1"
    token = got["device"]["access_token"]
    assert len(token) >= 20
    again = certificate(plugged, {"device_key": sn}).json()
    assert again["device"] == got["device"]
    plugged.otad.firmware(kind, "2.0.0")
    login = ["-h", "127.0.0.1", "-p", str(plugged.broker.port), "-u", token, "-P", "default", "-q", "1"]
    pub = lambda topic, body: subprocess.run(  # noqa: E731
        ["mosquitto_pub", *login, "-t", topic, "-m", json.dumps(body)], check=True)  # fmt: skip
    wait(lambda: works(plugged, token, "default"), "its login is known")
    with subprocess.Popen(["mosquitto_sub", *login, "-i", "lamp", "-t", "command/send/+", "-C", "1"],
                          stdout=subprocess.PIPE) as listener:  # fmt: skip
        wait(lambda: "lamp" in (plugged.broker.log.read_text()), "it is there")
        wait(lambda: plugged.otad.ok("GET", f"/devices/{token}")["online"], "it is online")
        assert code(certificate(plugged, {"device_key": sn})) == (401, "device_taken"), "silent, but there"
        pub("attributes", {"version": "1.0.0"})
        pub("event/report/1", {"method": "otaCheck", "params": {}})
        offer = json.loads(listener.stdout.readline())
    assert offer["params"]["version"] == "2.0.0"
    pub("attributes", {"version": "2.0.0"})
    plugged.otad.wait_state(token, "verified")
    wait(lambda: plugged.otad.ok("GET", f"/devices/{token}")["online"] is False, "it goes")
    assert code(certificate(plugged, {"device_key": sn})) == (401, "device_taken")
    assert certificate(plugged, {"device_key": "nobody"}).status == 401
    assert certificate(plugged, {"device_key": sn}, "PR_other").status == 420
