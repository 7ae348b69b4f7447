"""What the description of the API promises of every route: pages, entity tags, idempotency; and
what holds for every item of the configuration."""
import json
import os
import re
import subprocess

import pytest

from otalib import OTAD, multipart, noise, request, wait

API = "/api/v1"


@pytest.fixture(scope="module")
def api(module_site):
    return request(module_site.otad.port, "GET", f"{API}/openapi.json").json()


class Things:
    """One of everything, so that every path of the description can be filled in."""

    def __init__(self, site):
        self.otad = site.otad
        self.n = 0
        self.type = site.type()
        self.device = site.device(self.type, "1.0")
        self.firmware = self.otad.firmware(self.type, "2.0")
        asking = self.otad.firmware(self.type, "3.0", release="campaign")
        self.asking = self.otad.ok("POST", "/campaigns", {
            "name": "asks", "firmware": asking["id"], "consent": {"mode": "app"},
            "texts": {"en": {"title": "New"}}})["id"]  # fmt: skip
        self.otad.ok("POST", f"/campaigns/{self.asking}/start")
        self.device.offer()
        self.consent = self.otad.ok("GET", f"/devices/{self.device.key}/consents")["items"][0]["id"]
        self.update = self.otad.updates(self.device.key)[0]["id"]
        self.command = self.otad.ok("POST", f"/devices/{self.device.key}/commands",
                                    {"method": "m", "params": {}})["id"]  # fmt: skip
        self.task = self.make("/tasks")["id"]
        self.run = self.otad.ok("POST", f"/tasks/{self.task}/run", {})["run_id"]
        wait(lambda: self.otad.ok("GET", f"/tasks/{self.task}/runs/{self.run}")["ended_at"], "its end")
        self.webhook = self.make("/webhooks")["id"]
        self.otad.ok("POST", f"/webhooks/{self.webhook}/test")
        self.project = self.make("/projects")["key"]
        self.otad.ok("POST", f"/projects/{self.project}/app")
        self.campaign = self.make("/campaigns")["id"]
        self.rule = self.make("/rules")["id"]
        self.token = self.make("/tokens")["id"]

    def body(self, path):
        """Something that POST to that list takes, another each time."""
        self.n += 1
        one = f"contract{self.n}"
        return {
            "/device-types": {"key": one},
            "/devices": {"key": f"DU_{one}", "device_type": self.type},
            "/rules": {"device_type": self.type, "event": one, "version_attribute": "version"},
            "/tasks": {"name": one, "action": {"kind": "ota_push", "module": "main",
                                               "version_attribute": "version"},
                       "target": {"devices": [self.device.key]}},
            "/webhooks": {"name": one, "url": "https://example.com/" + one, "types": ["device.created"]},
            "/projects": {"key": one, "name": one},
            "/campaigns": {"name": one, "firmware": self.firmware["id"], "phases": [{"percent": 100}]},
            "/tokens": {"name": one, "scope": "viewer"},
        }[path]  # fmt: skip

    def make(self, path):
        return self.otad.ok("POST", path, self.body(path))

    def path(self, template):
        """A path of the description, filled in; without /api/v1."""
        words = template.removeprefix(API).split("/")
        ids = {"tasks": self.task, "webhooks": self.webhook, "campaigns": self.campaign,
               "rules": self.rule, "tokens": self.token, "updates": self.update,
               "firmwares": self.firmware["id"], "device-types": self.type,
               "devices": self.device.key, "projects": self.project}  # fmt: skip
        for i, word in enumerate(words):
            if word == "{run}":
                words[i] = self.run
            elif word == "{n}":
                words[i] = 1
            elif word == "{id}" and words[i - 1] == "commands":
                words[i] = self.command
            elif word == "{id}" and words[i - 1] == "consents":
                words[i] = self.consent
            elif word == "{id}" and words[-1] == "consents":
                words[i] = self.asking
            elif word in ("{id}", "{key}"):
                words[i] = ids[words[i - 1]]
        return "/".join(str(w) for w in words)


@pytest.fixture(scope="module")
def things(module_site):
    return Things(module_site)


def routes(api, method):
    """Path and operation of what operators use."""
    for path, methods in api["paths"].items():
        if path.startswith(API + "/") and method in methods:
            yield path, methods[method]


def is_list(operation):
    return any(p["name"] == "limit" for p in operation.get("parameters", []))


def has_header(operation, name):
    return any(p["name"] == name and p["in"] == "header" for p in operation.get("parameters", []))


def test_every_list_has_pages_and_a_total(site, api, things):
    lists = [things.path(path) for path, o in routes(api, "get") if is_list(o)]
    assert len(lists) >= 14
    for path in lists:
        page = site.otad.ok("GET", f"{path}?limit=1&total=1")
        assert set(page) == {"items", "next", "total"}, path
        assert len(page["items"]) == 1, path
        assert "total" not in site.otad.ok("GET", path)
        seen, after = list(page["items"]), page["next"]
        while after:
            page = site.otad.ok("GET", f"{path}?limit=1&after={after}")
            assert len(page["items"]) == 1, "a cursor leads to something"
            seen, after = seen + page["items"], page["next"]
        texts = [json.dumps(x, sort_keys=True) for x in seen]
        assert len(set(texts)) == len(texts), path
        assert len(seen) == site.otad.ok("GET", f"{path}?total=1")["total"], path
        for wrong in ("limit=0", "limit=501", "after=%21", "total=maybe", "no_such=1"):
            answer = site.otad.rest("GET", f"{path}?{wrong}")
            assert answer.status == 400, (path, wrong, answer)
            assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_every_object_has_a_tag(site, api, things):
    seen = 0
    for template, operation in routes(api, "get"):
        raw = "/files/" in template or "/logs/" in template  # bytes as they came
        if is_list(operation) or not template.endswith("}") or raw:
            continue
        path = things.path(template)
        answer = site.otad.rest("GET", path)
        assert answer.status == 200, path
        tag = answer.headers["ETag"]
        assert re.fullmatch(r'"[^"]+"', tag), path
        same = site.otad.rest("GET", path, headers={"If-None-Match": tag})
        if same.status == 200:  # a device was heard of in between
            same = site.otad.rest("GET", path, headers={"If-None-Match": same.headers["ETag"]})
        assert same.status == 304 and same.body == b"", path
        seen += 1
    assert seen >= 12


def test_every_change_honours_if_match(site, api, things):
    seen = 0
    for method in ("patch", "delete"):
        for template, operation in routes(api, method):
            assert has_header(operation, "If-Match"), template
            path = things.path(template)
            before = site.otad.rest("GET", path)
            body = {} if method == "patch" else None
            answer = site.otad.rest(method.upper(), path, body, headers={"If-Match": '"9999"'})
            assert answer.status == 412, (method, path, answer)
            assert answer.json()["code"] == "precondition_failed"
            assert site.otad.rest("GET", path).json().get("revision") == before.json().get("revision")
            seen += 1
    assert seen >= 17
    for template, _ in routes(api, "patch"):
        path = things.path(template)
        for tag in (site.otad.rest("GET", path).headers["ETag"], "*"):
            answer = site.otad.rest("PATCH", path, {}, headers={"If-Match": f'"0", {tag}'})
            assert answer.status == 200, (path, tag, answer)
            assert answer.headers["ETag"], path


def test_every_list_makes_one_per_idempotency_key(site, api, things):
    for template, operation in routes(api, "post"):
        path = things.path(template)
        if not is_list(api["paths"][template].get("get", {})):
            continue
        assert has_header(operation, "Idempotency-Key"), template
        headers = {"Idempotency-Key": f"key of {path}"}
        if path == "/firmwares":
            body, kind = multipart({"name": "n", "device_type": things.type, "version": "7.0"},
                                   [("a.bin", noise(path))])  # fmt: skip
            headers["Content-Type"] = kind
            other = body.replace(b'"7.0"', b'"7.1"')
        elif path.endswith(("/commands", "/attributes")):
            body, other = {"method": "m", "params": {}}, {"method": "n", "params": {}}
        else:
            body, other = things.body(path), things.body(path)
        before = site.otad.ok("GET", f"{path}?total=1")["total"]
        first = site.otad.rest("POST", path, body, headers=headers)
        assert 200 < first.status < 300 and "Idempotency-Replayed" not in first.headers, (path, first)
        again = site.otad.rest("POST", path, body, headers=headers)
        assert again.status == first.status, (path, again)
        assert again.headers["Idempotency-Replayed"] == "true", path
        for name in ("Location", "ETag"):
            assert again.headers[name] == first.headers[name], (path, name)
        secrets = {"password", "token", "secret"}
        plain = {k: v for k, v in first.json().items() if k not in secrets}
        assert again.json() == plain, path
        wrong = site.otad.rest("POST", path, other, headers=headers)
        assert wrong.status == 422 and wrong.json()["code"] == "idempotency_mismatch", (path, wrong)
        assert site.otad.ok("GET", f"{path}?total=1")["total"] == before + 1, path
        long = site.otad.rest("POST", path, body, headers={**headers, "Idempotency-Key": "k" * 256})
        assert long.status == 400 and long.json()["code"] == "invalid_header", (path, long)


def test_every_action_is_done_once_per_idempotency_key(site, api, things):
    bodies = {"/tasks/{id}/run": {}, "/devices/{key}/attributes": {"attributes": {"a": 1}},
              "/devices/{key}/consents/{id}": {"answer": "postpone"}}
    order = ["confirm", "deny", "start", "pause", "resume", "approve", "complete", "abort"]
    done = 0
    actions = [(t, o) for t, o in routes(api, "post")
               if not is_list(api["paths"][t].get("get", {})) and has_header(o, "Idempotency-Key")]
    actions.sort(key=lambda a: order.index(a[0].rsplit("/", 1)[1]) if "campaigns" in a[0] else -1)
    for template, _ in actions:
        path = things.path(template)
        body = bodies.get(template.removeprefix(API))
        headers = {"Idempotency-Key": f"key of {path}"}
        if path == "/devices/import":
            body = f"key,device_type\nDU_imported,{things.type}\n"
            headers["Content-Type"] = "text/csv"
        first = site.otad.rest("POST", path, body, headers=headers)
        if first.status == 409:  # its state forbids it now: nothing was done, nothing is kept
            again = site.otad.rest("POST", path, body, headers=headers)
            assert again.status == 409 and "Idempotency-Replayed" not in again.headers, (path, again)
            continue
        assert 200 <= first.status < 300, (path, first)
        again = site.otad.rest("POST", path, body, headers=headers)
        assert again.status == first.status, (path, first, again)
        assert again.headers["Idempotency-Replayed"] == "true", path
        done += 1
    assert done >= 8


# ---- the configuration ----
def items():
    """(section, key, is text) of each item of the sample."""
    section = ""
    sample = subprocess.run([OTAD, "--sample-config"], capture_output=True, text=True, check=True)
    for line in sample.stdout.splitlines():
        if m := re.fullmatch(r"\[(\w+)\]", line):
            section = m.group(1)
        elif m := re.fullmatch(r"(\w+) = (.*)", line):
            yield section, m.group(1), m.group(2)


def check(conf, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTAD_")}
    done = subprocess.run([OTAD, "-t", "-c", conf], capture_output=True, text=True,
                          env={**clean, **env}, check=False)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_every_item_has_a_variable(tmp_path):
    conf = tmp_path / "c.toml"
    conf.write_text("")
    for section, key, value in items():
        name = "_".join(x for x in ("OTAD", section.upper(), key.upper()) if x)
        fine = "" if value == "[]" else value.strip('"')  # a list is parted by commas there
        code, said = check(conf, **{name: fine})
        assert code == 0 and "not known" not in said, (name, said)
        code, said = check(conf, **{name: "\x01"})
        assert code == 1 and said.startswith(f"{name}: {key}: "), (name, said)


def test_a_misspelt_key_names_the_nearest(tmp_path):
    conf = tmp_path / "c.toml"
    for section, key, value in items():
        head = f"[{section}]\n" if section else ""
        conf.write_text(f"{head}{key}x = {value}\n")
        code, said = check(conf)
        line = 2 if section else 1
        assert code == 1 and said.startswith(f"{conf}:{line}: key '{key}x' is not known"), said
        assert f"the nearest is '{key}'" in said, said


@pytest.mark.parametrize(
    "name", ["OTAD_MQTT_PASSWORD", "OTAD_MQTT_HOOK_SECRET", "OTAD_ADMIN_TOKEN"]
)
def test_every_secret_comes_from_a_file_too(tmp_path, name):
    conf, secret = tmp_path / "c.toml", tmp_path / "secret"
    conf.write_text("")
    secret.write_text("a-secret-that-is-long-enough\n")
    assert check(conf, **{name + "_FILE": str(secret)})[0] == 0
    code, said = check(conf, **{name + "_FILE": str(secret), name: "x"})
    assert code == 1 and name in said and "a-secret" not in said
    code, said = check(conf, **{name + "_FILE": str(tmp_path / "none")})
    assert code == 1 and f"{name}_FILE" in said
    secret.write_text("two\nlines\n")
    code, said = check(conf, **{name + "_FILE": str(secret)})
    assert code == 1 and "two" not in said, said


def test_exit_codes(tmp_path):
    conf = tmp_path / "c.toml"
    conf.write_text(f'data_dir = "{tmp_path}/file/data"\n[http]\nlisten = "127.0.0.1:0"\n')
    (tmp_path / "file").write_text("in the way")

    def code(*args):
        return subprocess.run([OTAD, *args], capture_output=True, check=False).returncode

    assert code("-V") == code("-h") == 0
    assert code("-t", "-c", conf) == 0
    assert code("-t", "-c", tmp_path / "none") == 1
    assert code("-c", tmp_path / "none") == 2
    assert code("-c", conf) == 1, "a failure at run time"
    for usage in (("-x",), ("-c",), ("no-such",), ("health", "now"), ("backup",), ("restore", "a", "b"),
                  ("-t", "otad.toml"), ("--ready",), ("--ready", "backup", "a")):
        assert code(*usage) == 2, usage
