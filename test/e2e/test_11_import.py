"""POST /devices/import: CSV and NDJSON, streamed, all or nothing unless partial."""
import json
import time

import pytest

from otalib import PATIENCE

CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}


def send(site, body, kind=CSV, query=""):
    if isinstance(body, str):
        body = body.encode()
    return site.otad.rest("POST", f"/devices/import{query}", body, headers=kind, timeout=4 * PATIENCE)


def test_csv(site):
    kind, a, b = site.type(), site.name("DU_i"), site.name("DU_i")
    answer = send(site, f'key,device_type,name,sn,tags,password\r\n{a},{kind},"A, ""first""",s1,'
                  f'"x,y",secret-of-{a}\r\n{b},{kind},乙,,,\r\n')  # fmt: skip
    assert answer.status in (200, 201), answer
    shown = site.otad.ok("GET", f"/devices/{a}")
    assert shown["name"] == 'A, "first"' and shown["sn"] == "s1" and sorted(shown["tags"]) == ["x", "y"]
    assert site.otad.ok("GET", f"/devices/{b}")["name"] == "乙"
    site.connect(a)


def test_rows_that_cannot_log_in_are_told(site):
    """Without a password and without a gateway a device waits for a login: 20 of them surprise."""
    kind, stem = site.type(), site.name("DU_i")
    answer = send(site, f"key,device_type,gateway,password\n{stem}a,{kind},,{stem}-secret\n{stem}b,{kind},,\n"
                  f"{stem}c,{kind},{stem}a,\n{stem}d,{kind},,\n")  # fmt: skip
    assert answer.json() == {"imported": 4, "failed": 0, "without_login": 2, "errors": []}


def test_errors_say_which_cell(site):
    kind, key = site.type(), site.name("DU_i")

    def said(body):
        answer = send(site, body).json()
        return answer["errors"][0]["detail"] if "errors" in answer else answer["detail"]

    assert "'enabled'" in said(f"key,device_type,enabled\n{key},{kind},maybe\n")
    assert "true or false" in said(f"key,device_type,enabled\n{key},{kind},maybe\n")
    text = said(b"key,device_type,name\n%s,%s,\xb2\xe2\n" % (key.encode(), kind.encode()))
    assert "'name'" in text and "UTF-8" in text
    text = said(f"key;device_type\n{key};{kind}\n")
    assert "comma" in text and "semicolon" in text
    text = said(f"serial,device_type\n{key},{kind}\n")
    for column in ("key", "device_type", "sn", "password", "tags"):
        assert column in text
    assert "created_at" not in text


def test_ndjson(site):
    kind = site.type()
    keys = [site.name("DU_i") for _ in range(3)]
    body = "".join(json.dumps({"key": k, "device_type": kind, "tags": ["t"]}) + "\n" for k in keys)
    answer = send(site, body, NDJSON)
    assert answer.status in (200, 201), answer
    for key in keys:
        assert site.otad.ok("GET", f"/devices/{key}")["tags"] == ["t"]


@pytest.mark.parametrize("partial", [False, True])
def test_errors_per_row(site, partial):
    kind, good, other = site.type(), site.name("DU_i"), site.name("DU_i")
    body = (
        f"key,device_type\n{good},{kind}\nbad key,{kind}\n{other},no-such-type\n{good},{kind}\n"
    )
    answer = send(site, body, query="?partial=1" if partial else "")
    said = json.dumps(answer.json())
    assert answer.status in ((200, 201, 207) if partial else (400, 409, 422)), answer
    errors = answer.json()["errors"]
    assert len(errors) == 3, said
    assert site.otad.rest("GET", f"/devices/{good}").status == (200 if partial else 404)
    assert site.otad.rest("GET", f"/devices/{other}").status == 404


def test_twenty_thousand_rows(site):
    """Thousands of rows per second, while a device is served."""
    kind = site.type()
    device = site.device(kind, "1.0")
    site.otad.firmware(kind, "2.0")
    stem = site.name("DU_bulk")
    body = "key,device_type\n" + "".join(f"{stem}_{i},{kind}\n" for i in range(20000))
    begun = time.monotonic()
    answer = send(site, body)
    took = time.monotonic() - begun
    assert answer.status in (200, 201), answer
    assert took < 20, f"{took} s: fewer than a thousand rows per second"
    assert site.otad.ok("GET", f"/devices?device_type={kind}&limit=1&total=1")["total"] == 20001
    assert site.otad.ok("GET", f"/devices/{stem}_19999")["device_type"] == kind
    device.offer()


def test_interrupted_import_leaves_nothing(site):
    import socket

    kind, stem = site.type(), site.name("DU_cut")
    with socket.create_connection(("127.0.0.1", site.otad.port), PATIENCE) as s:
        s.sendall(
            f"POST /api/v1/devices/import HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            f"Authorization: Bearer {site.otad.admin}\r\nContent-Length: 10000000\r\n\r\n"
            f"key,device_type\n".encode()
            + "".join(f"{stem}_{i},{kind}\n" for i in range(5000)).encode()
        )
    # the same keys can be imported afterwards: nothing of the first one holds them
    from otalib import wait

    def again():
        return send(site, f"key,device_type\n{stem}_0,{kind}\n{stem}_4000,{kind}\n").status in (
            200, 201)  # fmt: skip

    wait(again, "the keys are free", step=0.5)
    assert site.otad.ok("GET", f"/devices?device_type={kind}&total=1")["total"] == 2


def test_kill_during_import(make_site):
    """A crash leaves no half import behind."""
    import socket

    site = make_site()
    kind = site.type()
    s = socket.create_connection(("127.0.0.1", site.otad.port), PATIENCE)
    s.sendall(
        f"POST /api/v1/devices/import HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        f"Authorization: Bearer {site.otad.admin}\r\nContent-Length: 10000000\r\n\r\n"
        f"key,device_type\n".encode()
        + "".join(f"DU_k{i},{kind}\n" for i in range(20000)).encode()
    )
    commits = site.otad.metric("otad_db_commits_total")
    from otalib import wait

    wait(lambda: site.otad.metric("otad_db_commits_total") > commits
         or site.otad.metric("otad_db_commits_total") > 0, "rows are being stored")  # fmt: skip
    site.otad.kill()
    s.close()
    site.otad.start()
    assert site.otad.ok("GET", f"/devices?device_type={kind}&total=1")["total"] == 0
    wait(lambda: send(site, f"key,device_type\nDU_k0,{kind}\n").status in (200, 201),
         "the keys are free", step=0.5)  # fmt: skip
