"""Tokens and scopes, failures that are limited, logins at the broker."""
import json
import os
import stat
import subprocess

import pytest

from otalib import OTAD, Device, request, wait


def token(otad, scope, **more):
    return otad.ok("POST", "/tokens", {"name": f"e2e {scope}", "scope": scope, **more})


def test_generated_admin_token(make_site):
    site = make_site(admin=None)
    file = site.otad.data / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    assert len(secret) >= 32
    assert site.otad.rest("GET", "/device-types", token=secret).status == 200
    site.otad.stop()
    site.otad.start()
    assert file.read_text().strip() == secret
    assert secret not in site.otad.logs()


def test_given_admin_token_is_written_nowhere(site):
    assert site.otad.rest("GET", "/device-types").status == 200
    done = subprocess.run(["grep", "-rl", site.otad.admin, str(site.otad.data)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout == ""
    assert site.otad.admin not in site.otad.logs()


@pytest.mark.parametrize(
    "scope, read, write, tokens",
    [("viewer", 200, 403, 403), ("operator", 200, 201, 403), ("admin", 200, 201, 200)],
)
def test_scopes(site, scope, read, write, tokens):
    made = token(site.otad, scope)
    secret = made["token"]
    assert site.otad.rest("GET", "/device-types", token=secret).status == read
    body = {"key": site.name("scope"), "name": "x"}
    assert site.otad.rest("POST", "/device-types", body, token=secret).status == write
    assert site.otad.rest("GET", "/tokens", token=secret).status == tokens
    shown = site.otad.ok("GET", f"/tokens/{made['id']}")
    assert "token" not in shown and secret not in str(shown)
    site.otad.ok("DELETE", f"/tokens/{made['id']}")
    assert site.otad.rest("GET", "/device-types", token=secret).status == 401


def test_no_and_wrong_tokens(make_site):
    site = make_site()
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"},
                    {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer " + "x" * 5000}):
        answer = request(site.otad.port, "GET", "/api/v1/device-types", headers=headers)
        assert answer.status in (401, 431), (headers, answer)
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_failures_are_limited_per_address(make_site):
    site = make_site({"http.auth_failures_per_minute": 5})
    seen = [site.otad.rest("GET", "/device-types", token="wrong").status for _ in range(8)]
    assert seen[:5] == [401] * 5 and seen[-1] == 429, seen
    limited = site.otad.rest("GET", "/device-types", token="wrong")
    assert int(limited.headers["Retry-After"]) > 0
    assert site.otad.metric("otad_auth_limited_total") >= 1
    # open routes and device links are not behind it
    assert request(site.otad.port, "GET", "/healthz").status == 200


def test_one_bad_client_locks_nobody_out(make_site):
    """Behind a proxy all have one address: wrong tokens are refused, right ones are heard, also those
    that were never used before and those after a restart."""
    site = make_site({"http.auth_failures_per_minute": 5})
    fresh, gone = token(site.otad, "viewer")["token"], token(site.otad, "viewer")
    site.otad.ok("DELETE", f"/tokens/{gone['id']}")
    site.otad.stop()
    site.otad.start()
    seen = [site.otad.rest("GET", "/device-types", token=f"otk_wrong-{i:027}").status for i in range(30)]
    assert seen[:5] == [401] * 5 and set(seen[6:]) == {429}, seen
    assert site.otad.rest("GET", "/device-types", token=fresh).status == 200
    assert site.otad.rest("GET", "/device-types").status == 200
    for wrong in (gone["token"], fresh[:-1], fresh + "x", "x"):
        assert site.otad.rest("GET", "/device-types", token=wrong).status == 429, wrong
    assert request(site.otad.port, "GET", "/api/v1/device-types").status == 429, "no token at all"


def test_behind_a_trusted_proxy_each_client_counts_for_itself(make_site):
    site = make_site({"http.auth_failures_per_minute": 5, "http.trusted_proxies": ["127.0.0.0/8"]})

    def ask(client, secret="wrong", method="GET", body=None):
        headers = {"X-Forwarded-For": client, "Authorization": f"Bearer {secret}"}
        return request(site.otad.port, method, "/api/v1/device-types", body, headers).status

    seen = [ask(f"198.51.100.{i}, 192.0.2.1, 127.0.0.2") for i in range(8)]
    assert seen[:5] == [401] * 5 and seen[-1] == 429, "what the client made up in front counts for nothing"
    assert ask("192.0.2.2") == 401
    assert ask("unknown") == 401, "the proxy's own address"
    kind = site.name("kind")
    body = json.dumps({"key": kind, "name": "A kind"})
    assert ask("192.0.2.7, 127.0.0.2", site.otad.admin, "POST", body) == 201
    rows = site.otad.ok("GET", "/audit?limit=20")["items"]
    assert "192.0.2.7" in [row["address"] for row in rows if kind in json.dumps(row)]


def test_nobody_is_believed_who_is_no_proxy(make_site):
    site = make_site({"http.auth_failures_per_minute": 5, "http.trusted_proxies": ["127.0.0.2"]})
    seen = [request(site.otad.port, "GET", "/api/v1/device-types", headers={
        "X-Forwarded-For": f"192.0.2.{i}", "Authorization": "Bearer wrong"}).status for i in range(8)]  # fmt: skip
    assert seen[:5] == [401] * 5 and seen[-1] == 429, seen


def test_a_wrong_proxy_is_told(make_site):
    site = make_site()
    text = site.otad.conf.read_text().replace("[http]", '[http]\ntrusted_proxies = ["nginx"]', 1)
    (site.otad.dir / "wrong.toml").write_text(text)
    done = subprocess.run([OTAD, "-t", "-c", site.otad.dir / "wrong.toml"], capture_output=True, text=True)
    assert done.returncode == 1, done
    assert "wrong.toml:3: trusted_proxies: 'nginx' is no numeric address or network" in done.stderr


def test_a_short_admin_token_waits(make_site):
    """It could be guessed: while the address has to wait nobody learns whether it was right."""
    site = make_site({"http.auth_failures_per_minute": 5}, admin="short-enough")
    for i in range(8):
        site.otad.rest("GET", "/device-types", token=f"wrong-{i}")
    assert site.otad.rest("GET", "/device-types").status == 429


def test_projects_do_not_see_each_other(site):
    project = site.name("proj")
    made = site.otad.ok("POST", "/projects", {"key": project, "name": "Other"})
    kind = site.type()
    secret = made.get("token")
    if secret:
        theirs = site.otad.ok("GET", "/device-types", token=secret)
        assert kind not in [t["key"] for t in theirs["items"]]
        assert site.otad.rest("GET", f"/device-types/{kind}", token=secret).status == 404


def test_broker_login_follows_the_device(site):
    kind, key = site.type(), site.name("DU_login")
    made = site.otad.ok("POST", "/devices", {"key": key, "device_type": kind})
    device = site.connect(key, made["password"])
    assert device.up
    assert made["password"] not in str(site.otad.ok("GET", f"/devices/{key}"))
    wrong = Device(site.broker, key, "not-the-password")
    site.devices.append(wrong)
    wait(lambda: wrong.refusal, "the wrong password is refused")
    assert not wrong.up
    site.otad.ok("PATCH", f"/devices/{key}", {"password": "another-secret-1"})
    site.connect(key, "another-secret-1")
    site.release()
    site.otad.ok("DELETE", f"/devices/{key}")
    gone = Device(site.broker, key, "another-secret-1")
    site.devices.append(gone)
    passwd = site.broker.auth / "passwd"
    wait(lambda: key not in passwd.read_text(), "the login leaves the file")
    assert stat.S_IMODE(passwd.stat().st_mode) & 0o007 == 0


def test_anonymous_is_off(site):
    code = subprocess.run(
        ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(site.broker.port), "-t", "x", "-m", "y"],
        capture_output=True, check=False,
    ).returncode  # fmt: skip
    assert code != 0


def test_broker_is_signalled_by_its_pid_only_if_it_is_one(make_site):
    """A stale pid file must not send SIGHUP to a stranger."""
    site = make_site()
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        site.broker.pid_file.write_text(f"{stranger.pid}\n")
        site.otad.device(site.name("DU_pid"), site.type())
        wait(lambda: "no mosquitto" in site.otad.logs(), "it says why not")
        assert stranger.poll() is None
    finally:
        stranger.stdin.close()
        stranger.wait()
        site.broker.pid_file.write_text(f"{site.broker.process.pid}\n")


def test_secrets_from_files(tmp_path, make_site):
    secret = tmp_path / "token"
    secret.write_text("from-a-file-0123456789abcdefghijkl\n")
    site = make_site(admin=None, env={"OTAD_ADMIN_TOKEN_FILE": str(secret)})
    assert site.otad.rest("GET", "/device-types",
                          token="from-a-file-0123456789abcdefghijkl").status == 200  # fmt: skip
    done = subprocess.run(
        [OTAD, "-t", "-c", str(site.otad.conf)], capture_output=True, text=True, check=False,
        env={**os.environ, "OTAD_MQTT_PASSWORD_FILE": "/does/not/exist"},
    )  # fmt: skip
    assert done.returncode == 1 and "OTAD_MQTT_PASSWORD_FILE" in done.stderr + done.stdout
