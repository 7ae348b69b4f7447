"""The life of an update, for devices that only check and download."""
import socket
import ssl
import struct
import subprocess
import urllib.request

import pytest

from otalib import PATIENCE, PRELOAD, fetch, free_port, noise, path_of, wait


@pytest.fixture
def dated(make_site):
    """A site whose clock `later(seconds)` sets ahead, by a restart."""
    site = make_site(preload=PRELOAD / "clock.so")
    ahead = 0

    def later(seconds):
        nonlocal ahead
        ahead += seconds
        site.otad.stop()
        site.otad.start(CLOCK_AHEAD_S=str(ahead))

    site.later = later
    return site


def prepare(site, versions=("2.0.0",), **fields):
    kind = site.type(**fields)
    made = [site.otad.firmware(kind, v)["id"] for v in versions]
    return kind, made, site.device(kind, "1.0.0")


def download(site, offer):
    got = fetch(site.otad.port, offer["params"]["url"])
    assert got.status == 200 and len(got.body) == offer["params"]["size"]
    return got.body


def states(update):
    return [h["to"] for h in update["history"]]


def test_verified(site):
    _, _, device = prepare(site)
    offer = device.offer()
    site.otad.wait_state(device.key, "offered")
    download(site, offer)
    site.otad.wait_state(device.key, "downloaded")
    device.report(version="2.0.0")
    update = site.otad.wait_state(device.key, "verified")
    assert update["id"] == offer["id"] and not update["suspect"]
    assert update["from_version"] == "1.0.0" and update["to_version"] == "2.0.0"
    assert update["bytes_served"] == update["bytes_total"] == offer["params"]["size"]
    times = [h["at"] for h in update["history"]]
    assert times == sorted(times) and all(h["cause"] for h in update["history"])
    device.nothing()


@pytest.fixture
def with_tls(make_site, tmp_path):
    """A site with a TLS listener of its own certificate; `trust` is what a device knows of it."""
    cert, key, port = tmp_path / "tls.pem", tmp_path / "tls.key", free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=ota", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", str(cert), "-keyout", str(key)], check=True, capture_output=True)  # fmt: skip
    site = make_site({"http.https_listen": f"127.0.0.1:{port}", "http.tls_cert": str(cert),
                      "http.tls_key": str(key), "http.public_https_url": f"https://127.0.0.1:{port}"})
    site.https, site.trust = f"https://127.0.0.1:{port}/", ssl.create_default_context(cafile=cert)
    return site


def test_firmware_over_https(with_tls):
    site = with_tls
    kind, data = site.type(), noise("https", 200_001)
    site.otad.firmware(kind, "2.0.0", ("app.bin", data), use_https=True)
    device = site.device(kind, "1.0.0")
    url = device.offer()["params"]["url"]
    assert url.startswith(site.https)

    def piece(first, last):
        ask = urllib.request.Request(url, headers={"Range": f"bytes={first}-{last}"})
        with urllib.request.urlopen(ask, timeout=PATIENCE, context=site.trust) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"
            return answer.read()

    got = piece(0, 99_999)
    site.otad.wait_state(device.key, "downloading")
    got += piece(100_000, len(data) - 1)
    assert got == data
    update = site.otad.wait_state(device.key, "downloaded")
    assert update["bytes_served"] == update["bytes_total"] == len(data)


def narrow(site, request):
    """A request over TLS whose client takes little at a time."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(PATIENCE)
    plain.connect(("127.0.0.1", int(site.https.split(":")[2].strip("/"))))
    s = site.trust.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
    s.sendall(request.encode())
    return s


def test_over_https_it_is_downloaded_when_the_device_has_it(with_tls):
    """A small image fits into the server's socket, where it waits for the device's TCP."""
    site = with_tls
    kind, data = site.type(), noise("small", 40_000)
    site.otad.firmware(kind, "2.0.0", ("app.bin", data), use_https=True)
    device = site.device(kind, "1.0.0")
    path = device.offer()["params"]["url"].removeprefix(site.https[:-1])
    served = lambda: site.otad.metric("otad_download_bytes_total")  # noqa: E731
    for version in ("1.1", "1.0"):
        before = served()
        s = narrow(site, f"GET {path} HTTP/{version}\r\nHost: x\r\n\r\n")
        assert s.recv(100)
        wait(lambda b=before: served() > b, "a part is told")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    update = site.otad.wait_state(device.key, "downloading")
    assert update["percent"] < 100 and update["attempt"] == 1
    # who reads late gets all of it and a proper end, though the server has let go of it long before
    with narrow(site, f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n") as s:
        before = served()
        got = s.recv(100)
        wait(lambda: served() > before, "a part is told")
        while piece := s.recv(65536):
            got += piece
    assert got.partition(b"\r\n\r\n")[2] == data
    update = site.otad.wait_state(device.key, "downloaded")
    assert update["bytes_served"] == update["bytes_total"] == len(data)


def test_success_without_a_byte_is_suspect(site):
    _, _, device = prepare(site)
    device.offer()
    before = site.otad.metric("otad_updates_suspect_total")
    device.report(version="2.0.0")
    assert site.otad.wait_state(device.key, "verified")["suspect"] is True
    assert site.otad.metric("otad_updates_suspect_total") == before + 1


def test_equal_version_in_other_words_verifies(site):
    kind = site.type()
    site.otad.firmware(kind, "V2.0.0")
    device = site.device(kind, "1.0.0")
    download(site, device.offer())
    device.report(version="2.0")
    site.otad.wait_state(device.key, "verified")


def test_rolled_back(site):
    _, _, device = prepare(site, backoff_s=0)
    offer = device.offer()
    download(site, offer)
    site.otad.wait_state(device.key, "downloaded")
    device.publish("command_reply", {"method": "otaUpgrade", "params": {"ota_result": 0},
                                     "id": offer["id"]})  # fmt: skip
    site.otad.wait_state(device.key, "installed")
    device.report(version="1.0.0")
    update = site.otad.wait_state(device.key, "rolled_back")
    assert "verified" not in states(update)


def test_download_again_is_another_attempt_until_they_are_used_up(site):
    _, made, device = prepare(site, attempts=2, attempts_per_day=10, backoff_s=0)
    first = device.offer()
    download(site, first)
    site.otad.wait_state(device.key, "downloaded")
    path = f"/updates/{first['id']}"
    for attempt in 1, 2, 2:  # the first time of an attempt it may never have come to the device
        history = len(site.otad.ok("GET", path)["history"])
        download(site, first)
        wait(lambda n=history: len(site.otad.ok("GET", path)["history"]) == n + 2, "it is told")
        update = site.otad.ok("GET", path)
        assert (update["state"], update["attempt"]) == ("downloaded", attempt)
    download(site, first)
    site.otad.wait_state(device.key, "failed")
    said = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    assert {r["code"] for r in said["reasons"] if r["firmware"] == made[0]} <= {
        "attempts_exhausted", "backing_off", "eligible"}  # fmt: skip


def test_quarantine_and_release(site):
    _, _, device = prepare(site, attempts=1, attempts_per_day=2, backoff_s=0)
    for n in range(2):
        if n:
            site.otad.firmware(site.otad.ok("GET", f"/devices/{device.key}")["device_type"], "2.0.1")
        fail_once(site, device)
    device.nothing()
    said = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    assert "quarantined" in {r["code"] for r in said["reasons"]} | {said["reason"]}
    assert site.otad.ok("GET", f"/devices/{device.key}")["quarantined_until"]
    site.otad.ok("POST", f"/devices/{device.key}/release", {})
    assert site.otad.ok("GET", f"/devices/{device.key}")["quarantined_until"] is None
    site.otad.firmware(site.otad.ok("GET", f"/devices/{device.key}")["device_type"], "2.0.2")
    device.offer()


def fail_once(site, device):
    """One attempt that fails by the device's own word."""
    offer = device.offer()
    download(site, offer)
    site.otad.wait_state(device.key, "downloaded")
    device.publish("command_reply", {"method": "otaUpgrade", "id": offer["id"],
                                     "params": {"ota_result": 1}})  # fmt: skip

    def over():
        update = site.otad.ok("GET", f"/updates/{offer['id']}")
        return update["state"] in ("failed", "rolled_back") and update

    return wait(over, "the attempt failed")


def test_backoff(dated):
    site = dated
    _, _, device = prepare(site, attempts=3, attempts_per_day=10, backoff_s=600)
    offer = device.offer()
    download(site, offer)
    site.otad.wait_state(device.key, "downloaded")
    device.publish("command_reply", {"method": "otaUpgrade", "id": offer["id"],
                                     "params": {"ota_result": 1}})  # fmt: skip
    wait(lambda: site.otad.updates(device.key)[0]["attempt"] == 2, "one attempt is used")
    device.nothing()
    said = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")
    assert "backing_off" in {r["code"] for r in said["reasons"]} | {said["reason"]}
    site.later(601)
    again = device.offer()
    assert again["id"] == offer["id"]


@pytest.mark.parametrize(
    "moves, seconds, state",
    [("", 24 * 3600 + 5, "timed_out"), ("d", 3600 + 5, "unverified"), ("p", 7200 + 5, "timed_out")],
)
def test_deadlines(dated, moves, seconds, state):
    """No sign after the offer; no report after the download; a download that stays half."""
    site = dated
    _, _, device = prepare(site, attempts=1)
    offer = device.offer()
    if moves == "d":
        download(site, offer)
        site.otad.wait_state(device.key, "downloaded")
        seconds *= 3  # install and verify
    if moves == "p":
        fetch(site.otad.port, path_of(offer["params"]["url"]), Range="bytes=0-999")
        site.otad.wait_state(device.key, "downloading")
    site.later(seconds)
    update = wait(
        lambda: (u := site.otad.updates(device.key)[0])["ended_at"] and u, "the deadline passes"
    )
    assert update["state"] in (state, "failed"), update
    # a late success still counts as the version; the ended update stays as it is
    device.connected()
    device.report(version="2.0.0")
    wait(lambda: site.otad.ok("GET", f"/devices/{device.key}")["versions"]["main"]["version"]
         == "2.0.0", "the report is taken")  # fmt: skip
    assert site.otad.ok("GET", f"/updates/{offer['id']}")["state"] == update["state"]


def test_target_version_without_an_offer(site):
    """Flashed by hand: nothing to close, nothing to offer."""
    _, _, device = prepare(site)
    device.report(version="2.0.0")
    device.nothing()
    assert site.otad.updates(device.key) == []


def test_newer_than_the_target_ends_the_update(site):
    _, _, device = prepare(site)
    offer = device.offer()
    device.report(version="3.0.0")
    update = wait(lambda: (u := site.otad.ok("GET", f"/updates/{offer['id']}"))["ended_at"] and u,
                  "it ends")  # fmt: skip
    assert update["state"] == "canceled"
    device.nothing()


def test_cancel(site):
    _, _, device = prepare(site)
    offer = device.offer()
    site.otad.ok("POST", f"/updates/{offer['id']}/cancel")
    assert site.otad.wait_state(device.key, "canceled")["history"][-1]["cause"]
    again = site.otad.rest("POST", f"/updates/{offer['id']}/cancel")
    assert again.status == 409, "final states don't change"
    gone = fetch(site.otad.port, offer["params"]["url"])
    assert gone.status in (403, 404, 410), "its link is dead"


def test_accepted_by_command_reply(site):
    _, _, device = prepare(site)
    offer = device.offer()
    device.publish("command_reply", {"method": "otaUpgrade", "params": {}, "id": offer["id"]})
    site.otad.wait_state(device.key, "accepted")


def test_ids_are_positive_int32_and_grow(site):
    kind = site.type()
    site.otad.firmware(kind, "2.0.0")
    ids = [site.device(kind, "1.0.0").offer()["id"] for _ in range(3)]
    assert ids == sorted(set(ids)) and all(0 < i < 2**31 for i in ids)


def test_device_list_and_source_versions(site):
    kind = site.type()
    a, b = site.device(kind, "1.0.0"), site.device(kind, "1.0.0")
    site.otad.firmware(kind, "2.0.0", devices=[a.key])
    site.otad.firmware(kind, "3.0.0", source_versions=["2.0.0"])
    assert a.offer()["params"]["version"] == "2.0.0"
    b.nothing()
    download(site, a.offer())
    a.report(version="2.0.0")
    site.otad.wait_state(a.key, "verified")
    assert a.offer()["params"]["version"] == "3.0.0"


def test_disabling_the_firmware_stops_the_offer(site):
    _, made, device = prepare(site)
    device.offer()
    site.otad.ok("PATCH", f"/firmwares/{made[0]}", {"enabled": False})
    device.nothing()


def test_list_filters(site):
    kind, made, device = prepare(site)
    offer = device.offer()
    for query in (f"device={device.key}", f"firmware={made[0]}",
                  f"device={device.key}&state=offered"):  # fmt: skip
        got = site.otad.ok("GET", f"/updates?{query}")
        assert [u["id"] for u in got["items"]] == [offer["id"]], query
        assert got["next"] is None
    assert site.otad.ok("GET", f"/updates?device={device.key}&state=verified")["items"] == []
    assert site.otad.rest("GET", "/updates?state=nonsense").status in (400, 422)
