"""Monitoring: versions of a fleet, how a campaign gets on, what devices log, exports."""
import csv
import io
import json
import socket

from otalib import at_headers, ADMIN, PATIENCE, fetch, noise, path_of, request, rss_kib, wait


def test_versions_of_a_type(make_site):
    site = make_site()
    kind = site.type()
    devices = [site.device(kind, version=v) for v in ("1.0.0", "1.0.0", "1.1.0")]

    def counted():
        got = site.otad.ok("GET", f"/device-types/{kind}/versions")
        return {v["version"]: v["devices"] for v in got["versions"]}

    wait(lambda: counted() == {"1.0.0": 2, "1.1.0": 1}, "versions are counted")
    devices[0].report(version="1.1.0")
    wait(lambda: counted() == {"1.0.0": 1, "1.1.0": 2}, "a version moves")
    site.otad.ok("PATCH", f"/devices/{devices[1].key}", {"enabled": False})
    assert site.otad.ok("GET", f"/device-types/{kind}/versions")["disabled"] == 1
    got = site.otad.ok("GET", f"/devices/{devices[0].key}/versions")["items"]
    assert [v["version"] for v in got] == ["1.1.0", "1.0.0"]
    assert got[0]["until"] is None and got[1]["until"] == got[0]["since"]
    # A start writes the point of the hour.
    site.otad.stop()
    site.otad.start()

    def points(step):
        return site.otad.ok("GET", f"/device-types/{kind}/versions?step={step}")["points"]

    wait(lambda: points("hour") and points("day"), "there are points")
    assert points("hour")[0]["versions"] == {"1.1.0": 2}
    assert points("hour")[0]["disabled"] == 1
    assert site.otad.rest("GET", f"/device-types/{kind}/versions?step=week").status == 400
    assert site.otad.rest("GET", f"/device-types/{kind}/versions?from=today").status == 400
    assert site.otad.ok("GET", f"/device-types/{kind}/versions?from=2100-01-01T00:00:00Z")["points"] == []  # fmt: skip
    assert site.otad.rest("GET", "/device-types/none/versions").status == 404


def campaign(site, kind, firmware, **fields):
    body = {"name": "c", "firmware": firmware["id"], **fields}
    made = site.otad.ok("POST", "/campaigns", body)
    site.otad.ok("POST", f"/campaigns/{made['id']}/start")
    return made["id"]


def fail(device, offer):
    device.publish("command_reply",
                   {"method": "otaUpgrade", "id": offer["id"], "params": {"ota_result": 1}})  # fmt: skip


def test_a_campaign_gets_on(site):
    kind = site.type(attempts=1)
    firmware = site.otad.firmware(kind, "2.0.0", ("a.bin", noise("two")), release="campaign")
    good, bad, liar, _idle = [site.device(kind, version="1.0.0") for _ in range(4)]
    wait(lambda: site.otad.ok("GET", f"/device-types/{kind}/versions")["devices"] == 4, "reports")
    number = campaign(site, kind, firmware)
    offer = good.offer()
    assert fetch(site.otad.port, offer["params"]["url"]).status == 200
    good.report(version="2.0.0")
    site.otad.wait_state(good.key, "verified")
    fail(bad, bad.offer())
    site.otad.wait_state(bad.key, "failed")
    liar.offer()
    liar.report(version="2.0.0")
    site.otad.wait_state(liar.key, "verified")

    def progress():
        return site.otad.ok("GET", f"/campaigns/{number}/progress")

    wait(lambda: progress()["ended"] == 3, "three have ended")
    got = progress()
    assert got["targets"] == {"devices": 4, "basis": "estimated"}
    assert (got["offered"], got["in_progress"], got["verified"], got["suspect"]) == (3, 0, 1, 1)
    assert (got["percent_ended"], got["percent_verified"]) == (75, 25)
    assert got["states"] == {"verified": 2, "failed": 1}
    assert got["bytes"] == 20000
    assert got["throughput"]["last_hour"]["failed"] == 1
    reasons = {r["reason"]: (r["state"], r["n"]) for r in got["reasons"]}
    assert reasons == {"suspect:no_bytes_served": ("verified", 1),
                       "reply:ota_result 1: connecting failed": ("failed", 1)}  # fmt: skip
    assert site.otad.updates(bad.key)[0]["reason"] == "reply:ota_result 1: connecting failed"
    assert got["forecast"]["why"] is None and got["forecast"]["remaining"] == 1
    assert got["forecast"]["ends_at"] > got["phases"][0]["opened_at"]
    assert got["phases"][0]["targets"] == 4
    line = site.otad.ok("GET", f"/campaigns/{number}/timeline?step=day")["points"][-1]
    assert (line["verified_total"], line["failed_total"], line["active"]) == (1, 1, 0)
    minutes = site.otad.ok("GET", f"/campaigns/{number}/timeline?step=minute")["points"]
    assert sum(p["offered"] for p in minutes) == 3
    assert site.otad.ok("GET", f"/campaigns/{number}/timeline?phase=1000")["points"] == []
    assert site.otad.rest("GET", f"/campaigns/{number}/timeline?step=year").status == 400
    # What happened to one device, over all campaigns.
    past = site.otad.ok("GET", f"/devices/{good.key}/history?total=1")
    assert past["total"] == 1 and past["items"][0]["campaign"] == number
    assert [m["to"] for m in past["items"][0]["history"]][-1] == "verified"
    assert site.otad.rest("GET", "/devices/none/history").status == 404
    for query, n in (("", 3), ("&state=verified", 2), ("&state=active", 0)):
        assert site.otad.ok("GET", f"/updates?campaign={number}&total=1{query}")["total"] == n
    # A listed one is counted; paused, it has no forecast.
    number = campaign(site, kind, firmware, targets={"devices": [good.key, bad.key], "deny": [bad.key]})  # fmt: skip
    site.otad.ok("POST", f"/campaigns/{number}/pause")
    got = progress()
    assert got["targets"] == {"devices": 1, "basis": "counted"}
    assert got["forecast"]["why"] == "not_running" and got["forecast"]["ends_at"] is None
    assert site.otad.rest("GET", "/campaigns/9999/progress").status == 404


def export(site, path, **headers):
    answer = site.otad.rest("GET", path, headers=headers)
    assert answer.status == 200, answer
    return answer


def test_exports(site):
    kind = site.type(attempts=1)
    firmware = site.otad.firmware(kind, "2.0.0", ("a.bin", noise("x")), release="campaign")
    odd = site.device(kind, version="1.0.0", name='=cmd|"x"!A1, or so', tags=["b", "a"])
    plain = site.device(kind, version="1.0.0", name="@home", sn="-1")
    number = campaign(site, kind, firmware)
    fail(odd, odd.offer())
    site.otad.wait_state(odd.key, "failed")
    plain.offer()
    answer = export(site, f"/updates?campaign={number}&format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert 'filename="updates.csv"' in answer.headers["Content-Disposition"]
    assert answer.body.count(b"\r\n") == 3
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert [r["device"] for r in rows] == [plain.key, odd.key]  # newest first, as in the list
    assert rows[1]["reason"] == "reply:ota_result 1: connecting failed"
    assert rows[1]["state"] == "failed" and rows[0]["ended_at"] == ""
    got = export(site, f"/updates?campaign={number}&state=failed", Accept="application/x-ndjson, */*")
    lines = [json.loads(line) for line in got.body.splitlines()]
    listed = site.otad.ok("GET", f"/updates?campaign={number}&state=failed")["items"]
    assert lines == listed and got.headers["Content-Type"] == "application/x-ndjson"
    # Formulas are none, in a spreadsheet.
    rows = list(csv.DictReader(io.StringIO(
        export(site, f"/devices?device_type={kind}&format=csv").body.decode(), newline="")))  # fmt: skip
    assert [r["name"] for r in rows] == ["'=cmd|\"x\"!A1, or so", "'@home"]
    assert rows[0]["tags"] == "b,a" and rows[1]["sn"] == "'-1"
    assert json.loads(rows[0]["versions"])["main"]["version"] == "1.0.0"
    assert "password" not in rows[0]
    lines = export(site, f"/devices?device_type={kind}&format=ndjson").body.splitlines()
    assert [json.loads(line)["name"] for line in lines][1] == "@home"
    # Nothing, and what can't be.
    assert export(site, "/devices?device_type=none&format=ndjson").body == b""
    assert export(site, "/updates?device=none&format=csv").body.count(b"\r\n") == 1
    assert site.otad.rest("GET", "/devices?format=xml").status == 400
    assert site.otad.rest("GET", "/devices?format=csv&limit=5").status == 400
    assert "items" in export(site, "/devices?format=json&limit=1").json()
    api = site.otad.ok("GET", "/openapi.json")
    fine = api["paths"]["/api/v1/updates"]["get"]["responses"]["200"]["content"]
    assert set(fine) == {"application/json", "text/csv", "application/x-ndjson"}


def test_a_large_export_is_streamed(make_site):
    """100,000 devices: memory stays flat, and a client that does not read pins nothing."""
    site = make_site()
    otad, kind = site.otad, site.type()

    def rows(stem, n):
        text = "key,device_type,name\n" + "".join(f"{stem}{i},{kind},lamp number {i}\n" for i in range(n))  # fmt: skip
        otad.ok("POST", "/devices/import", text, headers={"Content-Type": "text/csv"}, timeout=4 * PATIENCE)  # fmt: skip

    rows("DU_x", 100000)
    answer = otad.rest("GET", "/devices?format=ndjson&tag=none", timeout=4 * PATIENCE)
    assert answer.status == 200 and answer.body == b""
    before = rss_kib(otad.process.pid)
    peak = n = reads = 0
    wal = otad.data / "otad.db-wal"
    with socket.create_connection(("127.0.0.1", otad.port), timeout=4 * PATIENCE) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        s.sendall(f"GET /api/v1/devices?format=csv HTTP/1.0\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode())  # fmt: skip
        got = s.recv(1000)
        assert got.startswith(b"HTTP/1.") and b" 200 " in got
        # While it stands still others write: a log that is held back only ever grows.
        sizes = [wal.stat().st_size]
        for i in range(12):
            rows(f"DU_y{i}-", 10000)
            sizes.append(wal.stat().st_size)
            if sizes[-1] <= sizes[-2]:
                break
        assert sizes[-1] <= sizes[-2], sizes
        while True:
            piece = s.recv(1 << 16)
            if not piece:
                break
            n += piece.count(b"\n")
            if reads % 32 == 0:
                peak = max(peak, rss_kib(otad.process.pid))
            reads += 1
    assert n >= 100000
    assert peak - before < 16 * 1024, f"{before} KiB, then {peak}"


def test_device_logs(site):
    progress = {"event": "otaProgress", "log_field": "log", "states": {"failed": "failed"}}
    kind = site.type(attempts=1, progress=progress)
    site.otad.firmware(kind, "2.0.0", ("a.bin", noise("log")))
    device = site.device(kind, version="1.0.0")
    offer = device.offer()
    base = path_of(offer["params"]["url"]).rsplit("/", 1)[0]
    number = offer["id"]

    def post(body, path=f"{base}/log"):
        return request(site.otad.port, "POST", path, body).status

    raw_log = bytes(range(256)) + b"<script>alert(1)</script>"
    assert post(raw_log) == 204
    device.publish("event_report", {"method": "otaProgress", "params": {"log": "over\nMQTT"}})
    logs = lambda: site.otad.ok("GET", f"/updates/{number}/logs")["items"]  # noqa: E731
    wait(lambda: len(logs()) == 2, "both are there")
    assert [(x["source"], x["size"]) for x in logs()] == [("http", len(raw_log)), ("mqtt", 9)]
    got = site.otad.rest("GET", f"/updates/{number}/logs/{logs()[0]['id']}")
    assert got.body == raw_log
    assert got.headers["Content-Type"].startswith("text/plain")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Disposition"].startswith("attachment")
    # When it has ended there is most to tell.
    device.publish("event_report", {"method": "otaProgress", "params": {"state": "failed"}})
    site.otad.wait_state(device.key, "failed")
    assert post(b"x" * 65536) == 204
    assert post(b"x" * 65537) == 413
    assert post(b"") == 400
    forged = base[:-1] + ("A" if base[-1] != "A" else "B")
    assert post(b"x", f"{forged}/log") == 403
    assert at_headers(site.otad.port, "POST", f"{forged}/log") == 403
    assert request(site.otad.port, "GET", f"{base}/log").status == 410  # a download, and it ended
    status = [post(b"more") for _ in range(9)]
    assert 429 in status and set(status) <= {204, 429, 409}
    assert len(logs()) <= 8
    assert site.otad.rest("GET", f"/updates/{number}/logs/{2**40}").status == 404
    assert site.otad.rest("GET", "/updates/1/logs").status == 404
    assert site.otad.rest("GET", f"/updates/{number}/logs", token=False).status == 401
    site.otad.ok("PATCH", f"/devices/{device.key}", {"enabled": False})
    assert post(b"disabled") in (403, 429)
