"""The whole path with nothing but mosquitto_pub, mosquitto_sub and curl."""
import hashlib
import json
import subprocess

from otalib import PATIENCE, Process, noise, wait


def run(*command):
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}{done.stdout.decode()}"
    return done.stdout


def test_upgrade_with_stock_tools(site, tmp_path):
    otad, broker = site.otad, site.broker
    api = f"http://127.0.0.1:{otad.port}/api/v1"
    auth = ("-H", f"Authorization: Bearer {otad.admin}")
    image = tmp_path / "lamp-1.1.5.bin"
    image.write_bytes(noise("lamp", 1_363_713))
    md5 = hashlib.md5(image.read_bytes()).hexdigest()

    def post(path, body):
        return json.loads(run("curl", "-sf", *auth, "--json", json.dumps(body), api + path))

    post("/device-types", {"key": "lamp", "name": "Lamp"})
    device = post("/devices", {"key": "DU_lamp000001", "device_type": "lamp"})
    assert device["password"], "generated and shown once"
    meta = json.dumps({"name": "Lamp 1.1.5", "device_type": "lamp", "version": "1.1.5"})
    firmware = json.loads(
        run("curl", "-sf", *auth, "-F", f"meta={meta};type=application/json", "-F",
            f"file=@{image}", api + "/firmwares")
    )  # fmt: skip
    assert firmware["files"][0]["md5"] == md5
    assert firmware["files"][0]["size"] == 1_363_713

    login = ("-h", "127.0.0.1", "-p", str(broker.port), "-u", "DU_lamp000001",
             "-P", device["password"])  # fmt: skip
    heard = tmp_path / "heard"
    # the broker learns the new login by SIGHUP; until then it refuses

    def publish(topic, message):
        def sent():
            command = ["mosquitto_pub", *login, "-q", "1", "-t", topic, "-m", message]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        wait(sent, f"mosquitto_pub {topic}")

    publish("attributes/DU_lamp000001", '{"version":"1.0.0"}')
    sub = Process(["mosquitto_sub", *login, "-q", "1", "-t", "command_send/DU_lamp000001"], heard)
    try:
        # a check repeats the same offer, so it may be asked until the subscriber listens
        def offered():
            publish("event_report/DU_lamp000001", '{"method":"otaCheck","params":{}}')
            return heard.read_text().splitlines()

        offer = json.loads(wait(offered, "an offer")[0])
    finally:
        sub.end()
    assert offer["method"] == "otaUpgrade"
    params = offer["params"]
    assert params["upgrade"] is True and params["module"] == "main"
    assert params["version"] == "1.1.5" and params["size"] == 1_363_713
    assert params["md5"] == md5
    assert offer["command_name"] == "OTA升级" and offer["id"] > 0

    got = tmp_path / "got.bin"
    run("curl", "-sf", "-o", str(got), params["url"])
    assert got.read_bytes() == image.read_bytes()
    publish("attributes/DU_lamp000001", '{"version":"1.1.5"}')

    def verified():
        said = json.loads(run("curl", "-sf", *auth, f"{api}/updates/{offer['id']}"))
        return said if said["state"] == "verified" else None

    update = wait(verified, "the update is verified")
    states = [row["to"] for row in update["history"]]
    assert states[-1] == "verified" and "offered" in states and "downloaded" in states, states


def test_offer_is_small_and_complete(site, upgrade):
    offer = upgrade.device.offer()
    assert upgrade.device.size < 480
    assert set(offer) == {"method", "params", "command_name", "id"}
    file = upgrade.firmware["files"][0]
    params = offer["params"]
    assert params["sha256"] == file["sha256"] == hashlib.sha256(upgrade.data).hexdigest()
    assert params["md5"] == file["md5"]
    assert params["url"].startswith(f"http://127.0.0.1:{site.otad.port}/d/")


def test_nothing_newer_is_answered_with_false(site):
    device = site.device(version="1.0.0")
    answer = device.nothing()
    assert answer["method"] == "otaUpgrade" and answer["params"]["module"] == "main"


def test_check_before_any_report_gets_nothing(site, upgrade):
    device = site.device(upgrade.type)
    device.nothing()
    reasons = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    assert reasons["eligible"] is False
    assert "version_unknown" in [r["code"] for r in reasons["reasons"]]


def test_rules_choose_event_attribute_and_module(site):
    kind = site.type()
    site.otad.ok("POST", "/rules", {
        "name": "mcu", "device_type": kind, "event": "mcuCheck", "action": "ota_check",
        "version_attribute": "mcu_version", "module": "mcu"})  # fmt: skip
    site.otad.firmware(kind, "2.0", ("mcu.hex", b":00000001FF\n"), module="mcu")
    device = site.device(kind)
    device.report(version="9.0", mcu_version="1.0")
    offer = device.offer(event="mcuCheck")
    assert offer["params"]["module"] == "mcu" and offer["params"]["version"] == "2.0"
    device.nothing(event="otaCheck")


def test_several_files_in_one_offer(site):
    kind = site.type()
    site.otad.firmware(kind, "3", ("a.bin", b"a" * 100), ("b.bin", b"b" * 200))
    device = site.device(kind, "2")
    params = device.offer()["params"]
    assert [f["size"] for f in params["files"]] == [100, 200]
    assert params["size"] == 100


def test_explain_names_every_reason(site):
    otad, kind = site.otad, site.type()
    device = site.device(kind, "1.5")
    old = otad.firmware(kind, "1.0")["id"]
    off = otad.firmware(kind, "9.0", enabled=False)["id"]
    other = otad.firmware(kind, "8.0", source_versions=["7.0"])["id"]
    good = otad.firmware(kind, "2.0")["id"]
    said = otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    codes = {r["firmware"]: r["code"] for r in said["reasons"]}
    assert codes[old] == "not_newer" and codes[off] == "firmware_disabled"
    assert codes[other] == "source_version_mismatch"
    assert said["eligible"] is True
    chosen = said["firmware"]
    assert (chosen["id"] if isinstance(chosen, dict) else chosen) == good
    assert all(r["text"] for r in said["reasons"])
