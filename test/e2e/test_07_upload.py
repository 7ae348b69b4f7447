"""Uploads: flat memory, nothing left of what broke off, limits before the body, inspection."""
import hashlib
import json
import os
import pathlib
import socket
import struct
import subprocess
import zlib

import pytest

from otalib import PATIENCE, multipart, noise, raw, rss_kib, split, wait

ENDINGS = (
    "bin img dav tar gz zip gzip apk tar.gz rar pack mini_1 mini_2 py s19 bin_1 bin_2 hex swu raucb"
    " mender"
).split()


def files_of(otad):
    """What lies in the store: finished and unfinished."""
    blobs = [p for p in (otad.data / "blobs").rglob("*") if p.is_file()]
    tmp = [p for p in otad.data.rglob("tmp/*") if p.is_file()]
    return set(blobs) - set(tmp), set(tmp)


def esp_image(version="1.2.3", project="lamp", chip=9, descriptor=True):
    head = bytearray(24)
    head[0], head[1] = 0xE9, 1
    struct.pack_into("<H", head, 0x0C, chip)
    app = bytearray(256)
    if descriptor:
        struct.pack_into("<I", app, 0, 0xABCD5432)
        app[0x10:0x30] = version.encode().ljust(32, b"\0")
        app[0x30:0x50] = project.encode().ljust(32, b"\0")
        app[0x50:0x60] = b"12:00:00".ljust(16, b"\0")
        app[0x60:0x70] = b"Jan  1 2024".ljust(16, b"\0")
        app[0x70:0x90] = b"v5.2".ljust(32, b"\0")
    body = bytes(app) + b"\0" * 768
    return bytes(head) + struct.pack("<II", 0x3F400020, len(body)) + body


class Upload:
    """A multipart request whose file is made while it is sent."""

    def __init__(self, otad, kind, version, size, name="big.bin", extra="", length=True, meta=None):
        whole, content = multipart({"name": "x", "device_type": kind, "version": version,
                                    **(meta or {})}, [(name, b"")])  # fmt: skip
        cut = whole.rindex(b"\r\n--e2e-boundary-7d1c--")
        self.head, self.tail = whole[:cut], whole[cut:]
        self.size = size
        total = len(self.head) + size + len(self.tail)
        self.s = socket.create_connection(("127.0.0.1", otad.port), PATIENCE)
        self.s.sendall(
            f"POST /api/v1/firmwares HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {otad.admin}\r\n"
            f"Content-Type: {content}\r\nContent-Length: {total}\r\nConnection: close\r\n{extra}\r\n"
            .encode()
        )  # fmt: skip

    def send(self, n, each=None):
        piece = bytes(range(256)) * 1024  # 256 KiB
        sent = 0
        while sent < n:
            part = piece[: min(len(piece), n - sent)]
            self.s.sendall(part)
            sent += len(part)
            if each:
                each()

    def answer(self):
        got = b""
        while piece := self.s.recv(65536):
            got += piece
        status, headers, body = split(got)
        return int(status.split()[1]), headers, json.loads(body)


def test_digests_of_what_came(site):
    kind, data = site.type(), noise("digests", 123_457)
    file = site.otad.firmware(kind, "1", ("a.bin", data))["files"][0]
    assert file["size"] == len(data)
    assert file["md5"] == hashlib.md5(data).hexdigest()
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert file["crc32"] == f"{zlib.crc32(data):08x}" or file["crc32"] == zlib.crc32(data)
    assert file.get("sha1", hashlib.sha1(data).hexdigest()) == hashlib.sha1(data).hexdigest()
    stored = site.otad.data / "blobs/sha256" / file["sha256"][:2] / file["sha256"][2:]
    assert stored.read_bytes() == data


def test_one_gibibyte_in_flat_memory(make_site):
    site = make_site({"http.max_file_mib": 1100})
    otad, kind = site.otad, site.type()
    otad.firmware(kind, "0.1", ("warm.bin", noise("warm", 4 << 20)))
    size = 1 << 30
    before = rss_kib(otad.process.pid)
    peak = 0

    def look():
        nonlocal peak
        peak = max(peak, rss_kib(otad.process.pid))

    up = Upload(otad, kind, "1.0", size)
    up.s.sendall(up.head)
    up.send(size, look)
    up.s.sendall(up.tail)
    status, _, body = up.answer()
    look()
    assert status == 201, body
    assert body["files"][0]["size"] == size
    assert peak - before < 8 * 1024, f"{before} KiB grew to {peak} KiB"
    # and out again, sendfile: the first and the last bytes
    device = site.device(kind, "0.5")
    from otalib import fetch

    url = device.offer()["params"]["url"]
    assert fetch(otad.port, url, Range="bytes=-256").body == bytes(range(256))
    otad.ok("POST", f"/updates/{otad.updates(device.key)[0]['id']}/cancel")
    otad.ok("DELETE", f"/firmwares/{body['id']}")


def test_interrupted_upload_leaves_nothing(site):
    otad, kind = site.otad, site.type()
    before = files_of(otad)[0]
    up = Upload(otad, kind, "1.0", 50 << 20)
    up.s.sendall(up.head)
    up.send(20 << 20)
    wait(lambda: files_of(otad)[1], "it is being received")
    up.s.close()
    wait(lambda: not files_of(otad)[1], "the unfinished file is gone")
    assert files_of(otad)[0] == before
    assert otad.ok("GET", f"/firmwares?device_type={kind}")["items"] == []


def test_kill_during_upload_leaves_nothing_after_start(make_site):
    site = make_site()
    otad, kind = site.otad, site.type()
    up = Upload(otad, kind, "1.0", 50 << 20)
    up.s.sendall(up.head)
    up.send(20 << 20)
    wait(lambda: files_of(otad)[1], "it is being received")
    otad.kill()
    up.s.close()
    assert files_of(otad)[1]
    # what no row names is kept for a month, for the database it may be of
    stray = otad.data / "blobs/sha256/ab" / ("c" * 62)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"stray")
    otad.start()
    assert files_of(otad) == ({stray}, set())
    otad.stop()
    mark = otad.data / "strays" / ("ab" + "c" * 62)
    os.utime(mark, (mark.stat().st_mtime - 31 * 86400,) * 2)
    otad.start()
    assert files_of(otad) == (set(), set())
    assert not mark.exists()


def test_endings(site):
    kind = site.type()
    for i, ending in enumerate(ENDINGS):
        site.otad.firmware(kind, f"1.{i}", (f"fw.{ending}", b"x" * 10))
    site.otad.firmware(kind, "2.0", ("FW.BIN", b"x"))
    for wrong in ("fw.exe", "fw", "bin", "fw.bin.sh", ".bin", "fw."):
        answer = site.otad.upload(kind, "9.0", (wrong, b"x"))
        assert answer.status in (400, 415, 422), (wrong, answer)
        assert answer.json()["code"], wrong
    assert files_of(site.otad)[1] == set()


def test_file_names_cannot_leave(site):
    kind = site.type()
    answer = site.otad.upload(kind, "1", ("../../etc/x.bin", b"x"))
    if answer.status == 201:
        assert "/" not in answer.json()["files"][0]["name"]
    else:
        assert answer.status in (400, 422)
    assert not (site.otad.data.parent / "etc").exists()


def test_limit_is_told_before_the_body(site):
    """100 MiB by default; the answer comes although the body never does."""
    kind = site.type()
    up = Upload(site.otad, kind, "1.0", 2000 << 20, extra="Expect: 100-continue\r\n")
    status, _, body = up.answer()
    assert status == 413 and body["code"]


def test_limit_of_one_file_inside_the_body(make_site):
    site = make_site({"http.max_file_mib": 1})
    kind = site.type()
    fine = site.otad.upload(kind, "1.0", ("a.bin", b"x" * (1 << 20)))
    assert fine.status == 201, fine
    over = site.otad.upload(kind, "1.1", ("a.bin", b"x" * ((1 << 20) + 1)))
    assert over.status == 413, over
    assert files_of(site.otad)[1] == set()


def test_wrong_meta_is_refused_before_the_files(site):
    """meta comes first, so a wrong one ends it without taking the file."""
    up = Upload(site.otad, "no-such-type", "1.0", 90 << 20)
    up.s.sendall(up.head + b"x" * 1000)
    try:
        up.send(90 << 20)
        up.s.sendall(up.tail)
    except OSError:
        pass  # the answer may close the connection
    else:
        status, _, body = up.answer()
        assert status in (400, 404, 422), body
    assert files_of(site.otad)[1] == set()


def test_meta_may_come_last(site, tmp_path):
    """curl sends its parts in the order of its options; what is wrong is told all the same."""
    kind, data = site.type(), noise("last", 300_000)
    (tmp_path / "a.bin").write_bytes(data)
    (tmp_path / "b.hex").write_bytes(b"b")

    def curl(*parts):
        done = subprocess.run(
            ["curl", "-sS", "-H", f"Authorization: Bearer {site.otad.admin}", *parts,
             f"http://127.0.0.1:{site.otad.port}/api/v1/firmwares"],
            capture_output=True, check=True, cwd=tmp_path)  # fmt: skip
        return json.loads(done.stdout)

    meta = lambda v: "meta=" + json.dumps({"device_type": kind, "version": v})  # noqa: E731
    for version, parts in (("1", ["file=@a.bin", "file=@b.hex", meta("1")]),
                           ("2", ["file=@a.bin", meta("2"), "file=@b.hex"])):  # fmt: skip
        made = curl(*(x for p in parts for x in ("-F", p)))
        assert [f["name"] for f in made["files"]] == ["a.bin", "b.hex"] and made["version"] == version
        assert site.otad.rest("GET", f"/firmwares/{made['id']}/files/1").body == data
    before = files_of(site.otad)[0]
    assert curl("-F", "file=@a.bin")["code"] == "meta_missing"
    assert curl("-F", "file=@a.bin", "-F", meta("..."))["code"] == "validation_failed"
    assert curl("-F", "file=@a.bin", "-F", meta("3"), "-F", meta("3"))["code"] == "malformed_multipart"
    assert curl("-F", "file=@a.bin;filename=a.exe", "-F", meta("3"))["code"] == "file_ending"
    assert files_of(site.otad) == (before, set())


def test_number_of_files(site):
    kind = site.type()
    five = [(f"{i}.bin", b"x%d" % i) for i in range(5)]
    assert len(site.otad.firmware(kind, "1", *five)["files"]) == 5
    assert site.otad.upload(kind, "2", *five, ("6.bin", b"y")).status in (400, 422)
    assert site.otad.upload(kind, "3").status in (400, 422)
    assert site.otad.upload(kind, "4", ("empty.bin", b"")).status in (400, 422)


def test_idempotency_key(site):
    kind = site.type()
    key = {"Idempotency-Key": f"upload-{kind}"}
    first = site.otad.upload(kind, "1.0", ("a.bin", b"one"), headers=key)
    again = site.otad.upload(kind, "1.0", ("a.bin", b"one"), headers=key)
    assert first.status == again.status == 201
    assert first.json()["id"] == again.json()["id"]
    other = site.otad.upload(kind, "1.0", ("a.bin", b"two"), headers=key)
    assert other.status in (409, 422), other
    assert len(site.otad.ok("GET", f"/firmwares?device_type={kind}")["items"]) == 1


def test_esp_image_is_read(site):
    kind = site.type()
    made = site.otad.firmware(kind, "1.2.3", ("app.bin", esp_image()))
    text = json.dumps(made["image"])
    assert "1.2.3" in text and "lamp" in text and "ESP32-S3" in text


def test_esp_image_that_contradicts(site):
    kind = site.type()
    answer = site.otad.upload(kind, "9.9.9", ("app.bin", esp_image("1.2.3")))
    assert answer.status in (409, 422), answer
    assert "1.2.3" in answer.body.decode()
    forced = site.otad.upload(kind, "9.9.9", ("app.bin", esp_image("1.2.3")), force_version=True)
    assert forced.status == 201, forced
    old = site.otad.upload(kind, "1.0.0", ("app.bin", esp_image(descriptor=False)))
    assert old.status == 201, "an image without descriptor says nothing"


def test_firmware_is_immutable(site, upgrade):
    path = f"/firmwares/{upgrade.firmware['id']}"
    assert site.otad.ok("PATCH", path, {"notes": "x", "enabled": True})["notes"] == "x"
    wrong = site.otad.rest("PATCH", path, {"version": "3.0.0"})
    assert wrong.status == 409 and wrong.json()["code"] == "immutable"
    upgrade.device.offer()
    used = site.otad.rest("DELETE", path)
    assert used.status == 409 and used.json()["code"] == "in_use"


def test_https_firmware_needs_an_https_url(site):
    answer = site.otad.upload(site.type(), "1", ("a.bin", b"x"), use_https=True)
    assert answer.status in (409, 422) and answer.json()["code"]


@pytest.mark.parametrize("size", [0, 10])
def test_body_without_parts(site, size):
    answer = site.otad.rest("POST", "/firmwares", b"x" * size,
                            headers={"Content-Type": "multipart/form-data; boundary=b"})  # fmt: skip
    assert answer.status in (400, 422), answer
    answer = site.otad.rest("POST", "/firmwares", b"x" * size)
    assert answer.status in (400, 415, 422), answer


def test_unauthenticated_upload_stops_at_the_headers(site):
    got = raw(
        site.otad.port,
        b"POST /api/v1/firmwares HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n",
    )
    assert got.startswith(b"HTTP/1.1 401"), got[:200]


def test_same_bytes_are_stored_once(site):
    kind, data = site.type(), noise("same", 5000)
    a = site.otad.firmware(kind, "1", ("a.bin", data))
    b = site.otad.firmware(kind, "2", ("b.bin", data))
    stored = site.otad.data / "blobs/sha256" / a["files"][0]["sha256"][:2]
    path = pathlib.Path(stored, a["files"][0]["sha256"][2:])
    assert os.path.exists(path)
    site.otad.ok("DELETE", f"/firmwares/{a['id']}")
    assert path.read_bytes() == data
    site.otad.ok("DELETE", f"/firmwares/{b['id']}")
    wait(lambda: not path.exists(), "the last one takes the bytes along")


def test_an_upload_mends_damaged_bytes(site):
    """The size is right and a byte is not: the same file again makes it whole."""
    kind, data = site.type(), noise("mend", 5000)
    a = site.otad.firmware(kind, "1", ("a.bin", data))
    digest = a["files"][0]["sha256"]
    path = site.otad.data / "blobs/sha256" / digest[:2] / digest[2:]
    path.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
    site.otad.firmware(kind, "2", ("b.bin", data))
    assert site.otad.rest("GET", f"/firmwares/{a['id']}/files/1").body == data
