"""Running it: health, metrics, backup and restore, signals, configuration errors."""
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

from otalib import OTAD, free_port, request, wait


def otad_command(site, *args, **more):
    return subprocess.run([OTAD, "-c", str(site.otad.conf), *args], capture_output=True, text=True,
                          timeout=60, check=False, **more)  # fmt: skip


def test_health_ready_version(site):
    for path in ("/healthz", "/readyz"):
        assert request(site.otad.port, "GET", path).status == 200
        assert request(site.otad.port, "HEAD", path).status == 200
    assert otad_command(site, "health").returncode == 0
    assert otad_command(site, "health", "--ready").returncode == 0
    said = subprocess.run([OTAD, "-V"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"otad \d+\.\d+\.\d+\S*\n", said.stdout)
    assert subprocess.run([OTAD, "--no-such"], capture_output=True, check=False).returncode == 2


def test_health_of_nobody(tmp_path):
    conf = tmp_path / "c.toml"
    conf.write_text(f'data_dir = "{tmp_path}"\n[http]\nlisten = "127.0.0.1:{free_port()}"\n')
    done = subprocess.run([OTAD, "-c", conf, "health"], capture_output=True, check=False)
    assert done.returncode == 1


def test_metrics_parse(site, upgrade):
    upgrade.device.offer()
    answer = request(site.otad.port, "GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    typed, seen = {}, set()
    for line in answer.body.decode().splitlines():
        if m := re.fullmatch(r"# TYPE (\S+) (counter|gauge|histogram)", line):
            assert m.group(1) not in typed
            typed[m.group(1)] = m.group(2)
        elif not line.startswith("#"):
            m = re.fullmatch(r'([a-z_]+)(\{(?:[a-z_]+="[^"]*",?)+\})? (-?[0-9.e+-]+|\+Inf)', line)
            assert m, line
            name = m.group(1)
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in typed or typed.get(base) == "histogram", line
            assert (name, m.group(2)) not in seen, line
            seen.add((name, m.group(2)))
            if typed.get(name) == "counter":
                assert name.endswith("_total"), name
    names = {n for n, _ in seen}
    for must in ("otad_build_info", "otad_ota_checks_total", "otad_mqtt_connected",
                 "otad_check_duration_seconds_count", "otad_db_commit_seconds_bucket",
                 "otad_queue_depth", "otad_download_bytes_total", "process_resident_memory_bytes",
                 "process_cpu_seconds_total", "process_open_fds"):  # fmt: skip
        assert must in names, must
    assert upgrade.device.key not in answer.body.decode(), "no label per device"


def test_metrics_on_a_listener_of_their_own(make_site):
    port = free_port()
    site = make_site({"http.metrics_listen": f"127.0.0.1:{port}"})
    assert request(port, "GET", "/metrics").status == 200
    assert request(port, "GET", "/api/v1/device-types").status == 404
    assert request(site.otad.port, "GET", "/metrics").status == 404


def test_not_ready_without_a_broker(make_site):
    site = make_site()
    site.broker.stop()
    wait(lambda: request(site.otad.port, "GET", "/readyz").status == 503, "it is not ready")
    assert request(site.otad.port, "GET", "/healthz").status == 200
    assert otad_command(site, "health").returncode == 0
    assert otad_command(site, "health", "--ready").returncode == 1


def test_backup_while_running_and_restore(make_site, tmp_path):
    site = make_site()
    kind = site.type()
    site.otad.firmware(kind, "1.0")
    copy = tmp_path / "copy.db"
    done = otad_command(site, "backup", str(copy))
    assert done.returncode == 0, done.stderr
    assert otad_command(site, "backup", str(copy)).returncode == 1, "nothing is overwritten"
    assert sqlite3.connect(copy).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    after = site.type()
    running = otad_command(site, "restore", str(copy))
    assert running.returncode == 1 and "running" in running.stderr + running.stdout + "in use"
    site.otad.stop()
    done = otad_command(site, "restore", str(copy))
    assert done.returncode == 0, done.stderr
    ids = [sqlite3.connect(f).execute("SELECT value FROM counter WHERE name = 'update'").fetchone()[0]
           for f in (copy, site.otad.data / "otad.db")]  # fmt: skip
    assert ids[1] >= ids[0] + 1000000, "no update id is given out twice"
    site.otad.start()
    assert site.otad.rest("GET", f"/device-types/{kind}").status == 200
    assert site.otad.rest("GET", f"/device-types/{after}").status == 404
    firmware = site.otad.ok("GET", f"/firmwares?device_type={kind}")["items"][0]
    assert site.otad.rest("GET", f"/firmwares/{firmware['id']}/files/1").status == 200


def blob(site, firmware):
    digest = firmware["files"][0]["sha256"]
    return site.otad.data / "blobs/sha256" / digest[:2] / digest[2:]


def age(site, days):
    """Let what nothing names be that old."""
    for mark in (site.otad.data / "strays").iterdir():
        when = mark.stat().st_mtime - days * 86400
        os.utime(mark, (when, when))


def file_of(site, firmware):
    return site.otad.rest("GET", f"/firmwares/{firmware['id']}/files/1")


def test_a_restore_keeps_the_bytes_of_what_was_set_aside(make_site, tmp_path):
    """Firmware that the copy does not know: its bytes stay, for when the copy was the wrong one."""
    site = make_site()
    kind, copy = site.type(), tmp_path / "copy.db"
    assert otad_command(site, "backup", str(copy)).returncode == 0
    later = site.otad.firmware(kind, "2.0", ("later.bin", b"later" * 999))
    site.otad.stop()
    assert otad_command(site, "restore", str(copy)).returncode == 0
    for _ in range(2):
        site.otad.start()
        assert file_of(site, later).status == 404
        site.otad.stop()
    assert blob(site, later).exists()
    aside = next(p for p in site.otad.data.glob("otad.db.before-restore-*") if "-wal" not in p.name)
    for end in ("-wal", "-shm"):
        (site.otad.data / f"otad.db{end}").unlink(missing_ok=True)
        if (wal := aside.with_name(aside.name + end)).exists():
            wal.rename(site.otad.data / f"otad.db{end}")
    aside.rename(site.otad.data / "otad.db")
    site.otad.start()
    assert file_of(site, later).body == b"later" * 999
    # known again: the time begins anew when it is lost once more
    assert not list((site.otad.data / "strays").iterdir())
    site.otad.stop()
    assert otad_command(site, "restore", str(copy)).returncode == 0
    site.otad.start()
    site.otad.stop()
    age(site, 29)
    site.otad.start()
    site.otad.stop()
    assert blob(site, later).exists()
    age(site, 2)
    site.otad.start()
    assert not blob(site, later).exists(), "after a month nobody comes back for it"
    assert not list((site.otad.data / "strays").iterdir())


def test_a_new_database_keeps_the_bytes(make_site):
    site = make_site()
    firmware = site.otad.firmware(site.type(), "1.0")
    site.otad.stop()
    for db in site.otad.data.glob("otad.db*"):
        db.rename(db.with_name("kept-" + db.name))
    site.otad.start()
    assert site.otad.ok("GET", "/firmwares")["items"] == []
    site.otad.stop()
    for db in site.otad.data.glob("otad.db*"):
        db.unlink()
    for db in site.otad.data.glob("kept-*"):
        db.rename(db.with_name(db.name[5:]))
    site.otad.start()
    assert file_of(site, firmware).status == 200


def test_bytes_that_are_missing_are_noticed(make_site, tmp_path):
    """Backup, deletion, restore: the firmware is back without its bytes, and offered to nobody until
    they are."""
    site = make_site()
    kind, copy = site.type(), tmp_path / "copy.db"
    firmware = site.otad.firmware(kind, "2.0", ("a.bin", b"a" * 5000))
    assert firmware["files"][0]["missing"] is False
    assert otad_command(site, "backup", str(copy)).returncode == 0
    site.otad.ok("DELETE", f"/firmwares/{firmware['id']}")
    wait(lambda: not blob(site, firmware).exists(), "its bytes go")
    site.otad.stop()
    assert otad_command(site, "restore", str(copy)).returncode == 0
    site.otad.start()
    wait(lambda: "firmware bytes are missing" in site.otad.logs(), "it is said")
    assert site.otad.metric("otad_firmware_files_missing") == 1
    row = site.otad.ok("GET", f"/firmwares/{firmware['id']}")
    assert row["files"][0]["missing"] is True and row["revision"] > firmware["revision"]
    device = site.device(kind, "1.0")
    device.nothing()
    rows = site.otad.ok("GET", f"/devices/{device.key}/explain?module=main")["reasons"]
    assert [r["code"] for r in rows] == ["file_missing"]
    # the same bytes come with another firmware
    site.otad.firmware(site.type(), "7", ("b.bin", b"a" * 5000))
    assert site.otad.metric("otad_firmware_files_missing") == 0
    assert site.otad.ok("GET", f"/firmwares/{firmware['id']}")["files"][0]["missing"] is False
    assert device.offer()["params"]["version"] == "2.0"


def test_restore_refuses_what_is_no_database(make_site, tmp_path):
    site = make_site()
    kind = site.type()
    site.otad.stop()
    junk = tmp_path / "junk"
    junk.write_bytes(b"no database" * 1000)
    assert otad_command(site, "restore", str(junk)).returncode == 1
    site.otad.start()
    assert site.otad.rest("GET", f"/device-types/{kind}").status == 200


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop_in_under_5_seconds(make_site, signo):
    site = make_site()
    # an idle connection and a half sent request must not hold it
    import socket

    idle = socket.create_connection(("127.0.0.1", site.otad.port))
    half = socket.create_connection(("127.0.0.1", site.otad.port))
    half.sendall(b"GET /healthz HT")
    begun = time.monotonic()
    assert site.otad.stop(signo) == 0
    assert time.monotonic() - begun < 5
    idle.close()
    half.close()
    site.otad.start()
    assert "not clean" not in site.otad.logs()


def test_unclean_stop_is_noticed_and_checked(make_site):
    site = make_site()
    kind = site.type()
    site.otad.kill()
    site.otad.start()
    assert "not clean" in site.otad.logs()
    assert site.otad.rest("GET", f"/device-types/{kind}").status == 200


def test_damaged_database_is_refused_after_an_unclean_stop(make_site):
    site = make_site()
    for _ in range(200):
        site.type()
    site.otad.stop()
    site.otad.start()
    site.otad.kill()
    (db,) = [p for p in site.otad.data.glob("*.db")]
    for end in ("-wal", "-shm"):
        (db.parent / (db.name + end)).unlink(missing_ok=True)
    with open(db, "r+b") as f:
        size = os.path.getsize(db)
        for at in range(8192, size, 4096):
            f.seek(at)
            f.write(b"\xa5" * 1024)
    done = otad_command(site)
    assert done.returncode == 1 and "damaged" in done.stderr, done.stderr


def test_two_on_one_folder(site):
    done = otad_command(site)
    assert done.returncode == 1
    assert site.otad.rest("GET", "/device-types").status == 200


def test_sighup_reloads_the_log_level(make_site):
    site = make_site()
    assert "level=debug" not in site.otad.logs()
    text = site.otad.conf.read_text()
    site.otad.conf.write_text(text + '[log]\nlevel = "debug"\nformat = "json"\n')
    site.otad.process.send(signal.SIGHUP)

    def json_lines():
        return [x for x in site.otad.logs().splitlines() if x.lstrip("<0123456789>").startswith("{")]

    wait(json_lines, "the new format is used")
    site.otad.conf.write_text(text + "[log]\nlevel = 17\n")
    site.otad.process.send(signal.SIGHUP)
    wait(lambda: "stays as it was" in site.otad.logs(), "a broken file changes nothing")
    assert site.otad.rest("GET", "/device-types").status == 200


@pytest.mark.parametrize(
    "text, line, word",
    [
        ('data_dir = "/tmp"\n[http]\nlisten_on = "x"\n', 3, "listen"),
        ('[http]\nlisten = 5\n', 2, ""),
        ('[http]\nlisten = "nonsense"\n', 2, ""),
        ("[htp]\nlisten = 5\n", 1, "http"),
        ('[http]\nmax_file_mib = 5000\n', 2, "4096"),
        ('[http\n', 1, ""),
        ('[mqtt]\nurl = "http://x"\n', 2, "mqtt"),
        ('[log]\nlevel = "loud"\n', 2, "info"),
        ('data_dir = "/a"\ndata_dir = "/b"\n', 2, ""),
        ('[http]\n\n# c\npublic_url = "ftp://x"\n', 4, "http"),
    ],
)
def test_configuration_errors(tmp_path, text, line, word):
    conf = tmp_path / "otad.toml"
    conf.write_text(text)
    done = subprocess.run([OTAD, "-t", "-c", conf], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert re.search(rf"{re.escape(str(conf))}:{line}: \S", said), said
    assert word in said, said
    run = subprocess.run([OTAD, "-c", conf], capture_output=True, text=True, check=False)
    assert run.returncode == 2, "a configuration error, when it should serve"


def test_environment_overrides(tmp_path):
    conf = tmp_path / "otad.toml"
    conf.write_text('[http]\nlisten = "127.0.0.1:8080"\n')

    def check(**env):
        return subprocess.run([OTAD, "-t", "-c", conf], capture_output=True, text=True,
                              env={**os.environ, **env}, check=False)  # fmt: skip

    assert check(OTAD_HTTP_LISTEN="127.0.0.1:9090").returncode == 0
    wrong = check(OTAD_HTTP_LISTEN="nonsense")
    assert wrong.returncode == 1 and "OTAD_HTTP_LISTEN" in wrong.stdout + wrong.stderr


def test_sample_configuration_is_valid(tmp_path):
    sample = subprocess.run([OTAD, "--sample-config"], capture_output=True, text=True, check=True)
    conf = tmp_path / "otad.toml"
    conf.write_text(sample.stdout)
    done = subprocess.run([OTAD, "-t", "-c", conf], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # also with every item uncommented
    conf.write_text(re.sub(r"(?m)^#\s?(\w+ = )", r"\1", sample.stdout))
    done = subprocess.run([OTAD, "-t", "-c", conf], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_secret_in_the_log(make_site):
    site = make_site({"log.level": "debug"})
    kind = site.type()
    site.otad.firmware(kind, "2.0")
    device = site.device(kind, "1.0")
    token = site.otad.ok("POST", "/tokens", {"name": "n", "scope": "viewer"})["token"]
    site.otad.rest("GET", "/device-types", token=token)
    url = device.offer()["params"]["url"]
    request(site.otad.port, "GET", url[url.index("/d/"):])
    site.otad.stop()
    logs = site.otad.logs()
    link = url.split("/")[-2]
    for secret in (site.otad.admin, site.otad.password, f"secret-of-{device.key}", token, link):
        assert secret not in logs


def test_openapi(site):
    answer = request(site.otad.port, "GET", "/api/v1/openapi.json")
    assert answer.status == 200
    api = answer.json()
    assert api["openapi"].startswith("3.1")
    for path in ("/device-types", "/devices/{key}", "/firmwares", "/updates/{id}/cancel",
                 "/devices/{key}/explain", "/rules", "/tokens", "/devices/import"):  # fmt: skip
        assert any(p.endswith(path) for p in api["paths"]), path


def test_errors_are_problems(site):
    for method, path, body, status in (
        ("GET", "/no-such", None, 404),
        ("GET", "/device-types/none", None, 404),
        ("POST", "/device-types", {"key": "bad key!", "name": 5, "nmae": 1}, 422),
        ("PUT", "/device-types", {}, 405),
    ):
        answer = site.otad.rest(method, path, body)
        assert answer.status in (status, 400) if status == 422 else answer.status == status, answer
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        problem = answer.json()
        assert problem["code"] and problem["status"] == answer.status
        if body:
            assert all(e["pointer"].startswith("/") and e["code"] for e in problem.get("errors", []))
    errors = site.otad.rest("POST", "/device-types", {"key": "bad key!", "name": 5}).json()["errors"]
    assert {e["pointer"] for e in errors} == {"/key", "/name"}
    broken = site.otad.rest("POST", "/device-types", "{not json")
    assert broken.status == 400, broken


def test_etag_and_if_match(site):
    key = site.type()
    path = f"/device-types/{key}"
    tag = site.otad.rest("GET", path).headers["ETag"]
    assert site.otad.rest("PATCH", path, {"name": "n"}, headers={"If-Match": '"nope"'}).status == 412
    changed = site.otad.rest("PATCH", path, {"name": "n"}, headers={"If-Match": tag})
    assert changed.status == 200
    assert site.otad.rest("DELETE", path, headers={"If-Match": tag}).status == 412
    assert site.otad.rest("DELETE", path).status == 204


def test_lists_page_through(site):
    keys = {site.type() for _ in range(7)}
    seen, after = [], ""
    while True:
        page = site.otad.ok("GET", f"/device-types?limit=3{after}")
        assert len(page["items"]) <= 3
        seen += [t["key"] for t in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(seen) == len(set(seen)) and keys <= set(seen)
    assert site.otad.ok("GET", "/device-types?total=1")["total"] == len(seen)
    for wrong in ("limit=0", "limit=501", "limit=x", "after=%21%21"):
        assert site.otad.rest("GET", f"/device-types?{wrong}").status in (400, 422), wrong


def test_newer_schema_is_refused(make_site):
    site = make_site()
    site.otad.stop()
    (db,) = site.otad.data.glob("*.db")
    shutil.copy(db, db.with_suffix(".keep"))
    connection = sqlite3.connect(db)
    connection.execute("PRAGMA user_version = 9999")
    connection.commit()
    connection.close()
    done = otad_command(site)
    assert done.returncode == 1 and "newer" in done.stderr, done.stderr
