"""Downloads, for the clients that exist."""
import hashlib
import socket
import struct
import threading

import pytest

from otalib import PATIENCE, fetch, noise, path_of, raw, request, split, wait


@pytest.fixture
def link(site, upgrade):
    """(url path, bytes) of an offer."""
    url = upgrade.device.offer()["params"]["url"]
    return path_of(url), upgrade.data


def test_raw_http_1_0_client_of_2017(site, link):
    """One recv loop, skips to the first empty line, flashes the rest, ends at FIN."""
    path, data = link
    answer = raw(
        site.otad.port,
        f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{site.otad.port}\r\n"
        "User-Agent: esp-idf/1.0 esp32\r\n\r\n".encode(),
    )
    status, headers, body = split(answer)
    assert " 200 " in status + " "
    assert body == data
    assert headers["content-length"] == str(len(data))
    assert "transfer-encoding" not in headers and "content-encoding" not in headers


def test_http_1_0_errors_carry_no_body(site, link):
    """That client would flash an error page."""
    path, _ = link
    bad = path[: path.rindex("/")] + "x" + path[path.rindex("/"):]
    answer = raw(site.otad.port, f"GET {bad} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    assert answer == b"" or split(answer)[2] == b""


def test_headers_without_space_and_absolute_form(site, link):
    path, data = link
    host = f"127.0.0.1:{site.otad.port}"
    for start in (path, f"http://{host}{path}"):
        answer = raw(
            site.otad.port,
            f"GET {start} HTTP/1.1\r\nHost:{host}\r\nConnection:close\r\nRange:bytes=0-9\r\n\r\n"
            .encode(),
        )  # fmt: skip
        status, headers, body = split(answer)
        assert " 206" in status, status
        assert body == data[:10] and headers["content-range"] == f"bytes 0-9/{len(data)}"


def test_head_then_ranges_one_past_the_end(site, link):
    """esp_https_ota with partial_http_download: each piece on a connection of its own."""
    path, data = link
    port = site.otad.port
    head = request(port, "HEAD", path)
    assert head.status == 200 and head.body == b""
    size = int(head.headers["Content-Length"])
    assert size == len(data)
    got, piece = b"", 65536
    while len(got) < size:
        last = min(len(got) + piece, size)  # one past the end in the last one
        part = fetch(port, path, Range=f"bytes={len(got)}-{last}")
        assert part.status == 206
        end = min(last, size - 1)
        assert part.headers["Content-Range"] == f"bytes {len(got)}-{end}/{size}"
        got += part.body
    assert got == data


@pytest.mark.parametrize(
    "given, first, last",
    [("bytes=0-", 0, None), ("bytes=100-", 100, None), ("bytes=-100", -100, None),
     ("bytes=5-5", 5, 6), ("bytes=0-99999999999", 0, None)],
)  # fmt: skip
def test_ranges(site, link, given, first, last):
    path, data = link
    part = fetch(site.otad.port, path, Range=given)
    assert part.status == 206 and part.body == data[first:last]
    assert int(part.headers["Content-Length"]) == len(part.body)


@pytest.mark.parametrize("given", ["bytes=400000-", "bytes=300001-300001", "bytes=-0"])
def test_unsatisfiable_range(site, link, given):
    path, data = link
    part = fetch(site.otad.port, path, Range=given)
    assert part.status == 416
    assert part.headers["Content-Range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize("given", ["bytes=a-b", "lines=1-2", "bytes=9-1", "bytes=0-1,5-6", "bytes"])
def test_a_range_that_is_none_is_ignored(site, link, given):
    path, data = link
    whole = fetch(site.otad.port, path, Range=given)
    assert whole.status == 200 and whole.body == data


def test_etag_if_none_match_if_range(site, link):
    path, data = link
    port = site.otad.port
    whole = fetch(port, path)
    tag = f'"{hashlib.sha256(data).hexdigest()}"'
    assert whole.headers["ETag"] == tag
    assert whole.headers["Accept-Ranges"] == "bytes"
    for given in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        same = fetch(port, path, If_None_Match=given)
        assert same.status == 304 and same.body == b"", given
    assert fetch(port, path, If_None_Match='"other"').status == 200
    assert fetch(port, path, If_Range=tag, Range="bytes=0-4").status == 206
    assert fetch(port, path, If_Range='"other"', Range="bytes=0-4").status == 200


def test_arduino_http_update(site, link):
    path, data = link
    port = site.otad.port
    md5 = hashlib.md5(data).hexdigest()
    agent = {"User-Agent": "ESP32-http-Update", "Cache-Control": "no-cache",
             "x-ESP32-STA-MAC": "AA:BB:CC:DD:EE:FF", "x-ESP32-mode": "sketch"}  # fmt: skip
    whole = request(port, "GET", path, headers={**agent, "x-ESP32-version": "1.0.0"})
    assert whole.status == 200 and whole.body == data
    assert whole.headers["x-MD5"] == md5
    for same in ({"x-ESP32-version": "2.0.0"}, {"x-ESP32-sketch-md5": md5}):
        assert request(port, "GET", path, headers={**agent, **same}).status == 304
    eight = {"User-Agent": "ESP8266-http-Update", "x-ESP8266-version": "2.0.0"}
    assert request(port, "GET", path, headers=eight).status == 304


def test_tampered_and_strange_links(site, link):
    path, _ = link
    port = site.otad.port
    _, d, token, name = path.split("/")
    assert d == "d"
    for i in range(0, len(token), 5):
        wrong = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1:]
        answer = request(port, "GET", f"/d/{wrong}/{name}")
        assert answer.status in (403, 404, 410), (i, answer)
    for wrong in ("", "x", token * 3, token[:-1], token + "A", "%00", "..%2f..%2fetc%2fpasswd"):
        assert request(port, "GET", f"/d/{wrong}/{name}").status in (400, 403, 404), wrong
    assert request(port, "POST", path, body=b"x").status in (404, 405)


def test_link_of_a_disabled_firmware_is_dead(make_site):
    site = make_site()
    kind = site.type()
    firmware = site.otad.firmware(kind, "2.0")
    url = site.device(kind, "1.0").offer()["params"]["url"]
    for enabled, status in ((True, 200), (False, 410), (True, 200)):
        site.otad.ok("PATCH", f"/firmwares/{firmware['id']}", {"enabled": enabled})
        assert fetch(site.otad.port, url).status == status


def test_link_expires(make_site):
    site = make_site({"ota.link_lifetime_s": 60})
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    url = device.offer()["params"]["url"]
    assert fetch(site.otad.port, url).status == 200
    # Not waited for: the same installation, started an hour later.
    site.otad.stop()
    faketime_start(site.otad, "+1h")
    answer = fetch(site.otad.port, url)
    assert answer.status in (403, 410), answer


def faketime_start(otad, offset):
    """Start otad with a clock that is ahead (the preload of test/lib)."""
    from otalib import PRELOAD

    shim = PRELOAD / "clock.so"
    hours = int(offset.strip("+h"))
    otad.start(LD_PRELOAD=str(shim), CLOCK_AHEAD_S=str(hours * 3600))


def test_many_short_connections(site, link):
    """64 pieces, each on its own connection, from eight clients at once."""
    path, data = link
    port = site.otad.port
    step = len(data) // 64 + 1
    pieces, wrong = {}, []

    def client(numbers):
        for n in numbers:
            part = fetch(port, path, Range=f"bytes={n * step}-{(n + 1) * step - 1}")
            if part.status != 206:
                wrong.append(part)
            pieces[n] = part.body

    threads = [threading.Thread(target=client, args=(range(i, 64, 8),)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert b"".join(pieces[n] for n in sorted(pieces)) == data


def test_reader_that_stands_still_survives(make_site):
    """Erasing flash takes a while with a zero window: longer than every other deadline here."""
    site = make_site({"http.request_timeout_s": 2, "http.idle_timeout_s": 2})
    kind = site.type()
    data = bytes(range(256)) * 65536  # 16 MiB: more than socket buffers hold
    site.otad.firmware(kind, "2", ("big.bin", data))
    path = path_of(site.device(kind, "1").offer()["params"]["url"])
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", site.otad.port))
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = bytearray(s.recv(1000))
        # the deadlines of others pass meanwhile: an idle connection opened now is closed by then
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", site.otad.port), PATIENCE) as idle:
                assert idle.recv(1) == b""
        while piece := s.recv(1 << 20):
            got += piece
    head, _, body = bytes(got).partition(b"\r\n\r\n")
    assert b" 200 " in head and hashlib.md5(body).digest() == hashlib.md5(data).digest()


def test_dripping_headers_meet_a_total_deadline(make_site):
    """MHD's own timeout starts anew with each byte; otad's doesn't."""
    site = make_site({"http.request_timeout_s": 2, "http.idle_timeout_s": 30})
    timed_out = site.otad.metric("otad_http_timed_out_total")
    with socket.create_connection(("127.0.0.1", site.otad.port), 0.2) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")

        def closed():
            try:
                s.sendall(b"a")
                return s.recv(100) in (b"",) or True
            except TimeoutError:
                return False
            except OSError:
                return True

        wait(closed, "the connection is closed", step=0.1)
    wait(lambda: site.otad.metric("otad_http_timed_out_total") > timed_out, "it is counted")


def test_bytes_served_become_progress(site, link, upgrade):
    path, data = link
    half = len(data) // 2
    fetch(site.otad.port, path, Range=f"bytes=0-{half - 1}")
    update = site.otad.wait_state(upgrade.device.key, "downloading")
    wait(lambda: 45 <= site.otad.updates(upgrade.device.key)[0]["percent"] <= 51, "half is counted")
    fetch(site.otad.port, path, Range=f"bytes={half}-")
    site.otad.wait_state(upgrade.device.key, "downloaded")
    assert update["id"] == site.otad.updates(upgrade.device.key)[0]["id"]


def test_the_same_bytes_again_are_no_progress(site, link, upgrade):
    path, data = link
    quarter = len(data) // 4
    for _ in range(5):
        fetch(site.otad.port, path, Range=f"bytes=0-{quarter - 1}")
    site.otad.wait_state(upgrade.device.key, "downloading")
    wait(lambda: site.otad.updates(upgrade.device.key)[0]["percent"] >= 24, "a quarter is counted")
    assert site.otad.updates(upgrade.device.key)[0]["percent"] <= 26


def test_operators_download(site, upgrade):
    path = f"/firmwares/{upgrade.firmware['id']}/files/1"
    whole = site.otad.rest("GET", path)
    assert whole.status == 200 and whole.body == upgrade.data
    assert "app.bin" in whole.headers["Content-Disposition"]
    part = site.otad.rest("GET", path, headers={"Range": "bytes=10-19"})
    assert part.status == 206 and part.body == upgrade.data[10:20]
    assert site.otad.rest("GET", path, token=False).status == 401
    assert site.otad.rest("GET", f"/firmwares/{upgrade.firmware['id']}/files/2").status == 404


def broken_off(port, path):
    """The server lets go of all of it; the client takes a little and resets."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", port))
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert s.recv(100)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_what_breaks_off_is_no_attempt(site):
    """A small image fits into the server's socket; it has left when the client has it."""
    kind = site.type()
    data = noise(kind, 40_000)
    site.otad.firmware(kind, "2", ("small.bin", data))
    device = site.device(kind, "1")
    path = path_of(device.offer()["params"]["url"])
    served = site.otad.metric("otad_download_bytes_total")
    for _ in range(3):
        broken_off(site.otad.port, path)
        wait(lambda before=served: site.otad.metric("otad_download_bytes_total") > before, "told")
        served = site.otad.metric("otad_download_bytes_total")
    update = site.otad.wait_state(device.key, "downloading")
    assert update["attempt"] == 1 and update["percent"] < 100
    assert fetch(site.otad.port, path).body == data
    update = site.otad.wait_state(device.key, "downloaded")
    assert update["attempt"] == 1
    assert site.otad.ok("GET", f"/devices/{device.key}")["quarantine"] is None


def test_a_paused_campaign_begins_with_nobody(site):
    """What is under way goes on; who was offered it waits."""
    otad, kind = site.otad, site.type()
    data = noise(kind, 100_000)
    firmware = otad.firmware(kind, "2", ("new.bin", data), release="campaign")
    campaign = otad.ok("POST", "/campaigns", {"name": kind, "firmware": firmware["id"],
                                              "phases": [{"percent": 100}]})  # fmt: skip
    path = f"/campaigns/{campaign['id']}"
    otad.ok("POST", f"{path}/start", {})
    early, late = site.device(kind, "1"), site.device(kind, "1")
    begun, waits = (path_of(d.offer()["params"]["url"]) for d in (early, late))
    assert fetch(otad.port, begun, Range="bytes=0-49999").body == data[:50_000]
    otad.wait_state(early.key, "downloading")
    otad.ok("POST", f"{path}/pause", {})
    refused = fetch(otad.port, waits)
    assert refused.status == 503 and refused.body == b""
    assert int(refused.headers["Retry-After"]) > 0
    old = raw(otad.port, f"GET {waits} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    assert old == b""
    assert fetch(otad.port, begun, Range="bytes=50000-").body == data[50_000:]
    otad.wait_state(early.key, "downloaded")
    otad.ok("POST", f"{path}/resume", {})
    assert fetch(otad.port, waits).body == data


def test_a_denied_device_gets_nothing_more(site):
    otad, kind = site.otad, site.type()
    firmware = otad.firmware(kind, "2")
    device = site.device(kind, "1")
    offer = device.offer()
    path = path_of(offer["params"]["url"])
    assert fetch(otad.port, path).status == 200
    otad.wait_state(device.key, "downloaded")
    otad.ok("PATCH", f"/firmwares/{firmware['id']}", {"denied_devices": [device.key]})
    assert fetch(otad.port, path).status == 410
