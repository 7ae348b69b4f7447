"""What is around the program: documents, units, image, installation."""
import itertools
import json
import os
import re
import select
import shutil
import socket
import subprocess

import pytest

from otalib import (
    MOSQUITTO, OTAD, PLUGIN, ROOT, Broker, Process, free_port, listening, request, wait,
)  # fmt: skip

yaml = pytest.importorskip("yaml")


def run(*command, cwd=ROOT, timeout=600, **env):
    return subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    to = tmp_path_factory.mktemp("install")
    done = run("make", "--no-print-directory", "install", f"DESTDIR={to}", "PREFIX=/usr")
    assert done.returncode == 0, done.stdout + done.stderr
    return to


def test_installation(installed):
    for path, mode in (
        ("usr/bin/otad", 0o755), ("usr/bin/otasim", 0o755), ("etc/otad/otad.toml", 0o644),
        ("usr/lib/systemd/system/otad.service", 0o644), ("usr/share/man/man8/otad.8", 0o644),
        ("usr/share/man/man5/otad.toml.5", 0o644),
    ):  # fmt: skip
        assert (installed / path).stat().st_mode & 0o777 == mode, path
    said = run(str(installed / "usr/bin/otad"), "-t", "-c", str(installed / "etc/otad/otad.toml"))
    assert said.returncode == 0, said.stderr
    # a configuration that is there is kept
    (installed / "etc/otad/otad.toml").write_text("# mine\n")
    again = run("make", "--no-print-directory", "install", f"DESTDIR={installed}", "PREFIX=/usr")
    assert again.returncode == 0
    assert (installed / "etc/otad/otad.toml").read_text() == "# mine\n"


def test_man_pages(installed):
    for page in ("man8/otad.8", "man5/otad.toml.5"):
        done = run("mandoc", "-T", "lint", "-W", "warning", str(installed / "usr/share/man" / page))
        assert done.returncode == 0, done.stdout + done.stderr
    text = run("mandoc", "-T", "utf8", str(installed / "usr/share/man/man5/otad.toml.5")).stdout
    text = re.sub(r".\x08", "", text)
    for item in ("data_dir", "http.listen", "mqtt.auth_dir", "log.format", "OTAD_MQTT_PASSWORD_FILE"):
        assert item in text, item


def test_sample_configuration_is_current():
    sample = run(OTAD, "--sample-config").stdout
    assert (ROOT / "config/otad.toml").read_text() == sample, "make sample"


def test_systemd_units(installed, tmp_path):
    units = installed / "usr/lib/systemd/system"
    assert "Type=notify" in (units / "otad.service").read_text()
    # the paths of this machine, so that verify finds what it looks for
    for name in ("otad.service", "otad-broker.service", "otad-broker.path"):
        text = (units / name).read_text().replace("/usr/bin/otad ", f"{installed}/usr/bin/otad ")
        (tmp_path / name).write_text(text)
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
               *[str(tmp_path / n) for n in os.listdir(tmp_path)])  # fmt: skip
    ours = [x for x in (done.stdout + done.stderr).splitlines() if "otad" in x]
    assert done.returncode == 0 and not ours, done.stdout + done.stderr


def test_the_units_secrets(tmp_path):
    """Named in the unit, taken by otad, and none of them is needed to start."""
    text = (ROOT / "config/otad.service").read_text()
    given = dict(re.findall(r"^LoadCredential=([^:\n]+):?(.*)$", text, re.M))
    assert set(given) == {"admin_token", "mqtt_password"}
    # systemd.exec(5): names are looked up in the credential stores; an absolute path has to exist
    assert all(name and "/" not in name for name in given.values()), given
    check = (OTAD, "-t", "-c", str(ROOT / "config/otad.toml"))
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert run(*check, **env).returncode == 0
    for name in given:
        (tmp_path / name).write_bytes(b"no\0text")
        said = run(*check, **env)
        assert said.returncode != 0 and name in said.stderr, said
        (tmp_path / name).unlink()


def test_systemd_hardening():
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
               str(ROOT / "config/otad.service"))  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    level = re.search(r"Overall exposure level for otad.service: ([0-9.]+)", done.stdout)
    assert float(level.group(1)) <= 2.0


def is_full(path):
    """A datagram socket that takes no more; until then it gets one of ours each time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        try:
            s.sendto(b"ours", str(path))
        except BlockingIOError:
            return True
    return False


def test_systemd_readiness_and_watchdog(make_site, tmp_path):
    """The protocol of sd_notify(3): READY once everything is open, WATCHDOG from the core."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(path))
        s.settimeout(60)
        site = make_site(env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"})
        seen = ""
        while "READY=1" not in seen:
            seen += s.recv(4096).decode() + "\n"
        while "WATCHDOG=1" not in seen:
            seen += s.recv(4096).decode() + "\n"
        assert seen.index("READY=1") < seen.index("WATCHDOG=1")
        # whoever reads nothing does not hold up otad: far more signs of life than the socket holds
        wait(lambda: is_full(path), "the socket is full")
        assert request(site.otad.port, "GET", "/readyz").status == 200
        while select.select([s], [], [], 0)[0]:
            seen += s.recv(4096).decode() + "\n"
        site.otad.stop()
        while "STOPPING=1" not in seen:
            seen += s.recv(4096).decode() + "\n"


def test_compose_file():
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    otad, broker = compose["services"]["otad"], compose["services"]["mosquitto"]
    assert otad["read_only"] is True and "data:/var/lib/otad" in otad["volumes"]
    assert "broker:/broker" in otad["volumes"] and "broker:/broker" in broker["volumes"]
    assert set(compose["volumes"]) >= {"data", "broker"}
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / "docker" / source).exists(), volume
    # every variable is one that otad knows
    env = {k: "x" for k in otad["environment"]}
    env.update(OTAD_HTTP_PUBLIC_URL="http://x:1", OTAD_MQTT_URL="mqtt://x")
    assert run(OTAD, "-t", **env).returncode == 0


def settings(path):
    lines = (ROOT / path).read_text().splitlines()
    return dict(x.split(None, 1) for x in lines if x and not x.startswith("#"))


def test_sessions_outlive_the_broker():
    """Its default writes them every half hour."""
    for path in ("docker/mosquitto.conf", "config/mosquitto.conf", "config/mosquitto-plugin.conf"):
        conf = settings(path)
        assert conf["persistence"] == "true", path
        assert 0 < int(conf["autosave_interval"]) <= 30, path
        assert int(conf["max_queued_messages"]) >= 10000, path
    # in the container: on the volume; Debian's own file says it for the others, twice is refused
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    place = settings("docker/mosquitto.conf")["persistence_location"]
    mounts = [v.split(":")[1] for v in compose["services"]["mosquitto"]["volumes"]
              if v.split(":")[0] in compose["volumes"]]  # fmt: skip
    assert place.rstrip("/") in mounts and place.endswith("/")
    for path in ("config/mosquitto.conf", "config/mosquitto-plugin.conf"):
        assert "persistence_location" not in settings(path)


SERVER_KEEP_ALIVE = 0x13
SIZES = {0x11: 4, SERVER_KEEP_ALIVE: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1,
         0x29: 1, 0x2A: 1}  # fmt: skip


def connack(port, level, keepalive):
    """The broker's answer to an MQTT 3.1.1 or 5 client: its code, its properties."""

    def text(x):
        return len(x).to_bytes(2, "big") + x

    body = text(b"MQTT") + bytes([level, 0xC2]) + keepalive.to_bytes(2, "big")
    body += b"\0" * (level == 5) + text(b"silent") + text(b"otad")
    body += text(b"any-long-text-for-otad-itself")
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(bytes([0x10, len(body)]) + body)
        head = s.recv(2, socket.MSG_WAITALL)
        rest = s.recv(head[1], socket.MSG_WAITALL)
    assert head[0] == 0x20, head
    properties, at = set(), 3
    while at < len(rest):
        properties.add(rest[at])
        at += 1 + SIZES[rest[at]]
    return rest[1], properties


@pytest.mark.parametrize("path", ["docker/mosquitto.conf", "config/mosquitto.conf",
                                  "config/mosquitto-plugin.conf"])  # fmt: skip
def test_the_brokers_configurations(path, tmp_path):
    """A mosquitto starts with each, but for its folders, its port and its user."""
    port = free_port()
    text = (ROOT / path).read_text()
    for old, new in (
        ("listener 1883\n", f"listener {port} 127.0.0.1\n"), (" /broker/", f" {tmp_path}/"),
        (" /etc/mosquitto/otad/", f" {tmp_path}/"),
        (" /usr/lib/otad/otad_mosquitto.so", f" {PLUGIN}"),
    ):  # fmt: skip
        text = text.replace(old, new)
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "otad.conf").write_text(text)
    for name in ("passwd", "acl"):
        (tmp_path / name).touch(mode=0o600)
    (tmp_path / "service-password").write_text("any-long-text-for-otad-itself\n")
    if "password_file" in text:
        done = run("mosquitto_passwd", "-b", str(tmp_path / "passwd"), "otad",
                   "any-long-text-for-otad-itself")  # fmt: skip
        assert done.returncode == 0, done.stderr
    main = f"include_dir {folder}\n" + ("user root\n" if os.geteuid() == 0 else "")
    if path.startswith("config/"):
        main = f"persistence true\npersistence_location {tmp_path}/\n" + main
    (tmp_path / "mosquitto.conf").write_text(main)
    broker = Process([MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")], tmp_path / "log")
    try:
        wait(lambda: listening(port) or not broker.alive(), "the broker listens")
        assert broker.alive(), broker.log.read_text()
        # devices say how long they may be silent, or that they may be for ever
        for level, keepalive in itertools.product((4, 5), (0, 7200)):
            code, properties = connack(port, level, keepalive)
            assert code == 0, (level, keepalive)
            assert not (keepalive and SERVER_KEEP_ALIVE in properties), (level, keepalive)
    finally:
        broker.end()
    assert (tmp_path / "mosquitto.db").exists(), "its sessions are on the disk"


def test_dockerfile():
    text = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    lines = [x for x in text.splitlines() if x and not x.startswith("#")]
    words = [x.split(None, 1) for x in lines if not x.startswith(" ")]
    kinds = [w[0] for w in words]
    assert kinds.count("FROM") == 2, "two stages"
    users = [w[1] for w in words if w[0] == "USER"]
    assert users and not users[-1].startswith(("0", "root"))
    assert any(w[0] == "HEALTHCHECK" and '"health"' in w[1] for w in words)
    assert words[-1][0] == "ENTRYPOINT" and words[-1][1].startswith("[")
    for w in words:
        assert w[0] in ("FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV", "VOLUME", "EXPOSE",
                        "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT")  # fmt: skip
        assert not (w[0] == "RUN" and "apt-get install" in w[1]) or (
            "--no-install-recommends" in w[1] and "rm -rf /var/lib/apt/lists" in w[1])  # fmt: skip
    # the build stage has what deps.sh says that building needs
    build = re.search(r'^build="([^"]*)"', (ROOT / "src/tool/deps.sh").read_text(), re.M).group(1)
    for package in build.split():
        assert package in words[1][1].split(), package


def dockerfile(kind):
    """What stands behind that word, of the last stage."""
    text = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    text = text[text.rindex("\nFROM "):]
    return re.findall(rf"^{kind} (.*)$", text, re.M)


def test_the_image_has_the_libraries():
    """Every library that otad needs, or opens when it is needed, is of a package that is installed."""
    release = dict(x.split("=", 1) for x in open("/etc/os-release") if "=" in x)
    if f"debian:{release.get('VERSION_ID', '').strip().strip(chr(34))}-slim" != dockerfile("FROM")[0]:
        pytest.skip("another release has other names")
    packages = dockerfile("RUN")[0].split()
    linked = re.findall(r"=> (/\S+)", run("ldd", str(ROOT / "build/otad")).stdout)
    opened = re.findall(r'"(lib[a-z]+\.so\.\d+)"', (ROOT / "src/webhook/curl_lib.c").read_text())
    assert any("libuv" in x for x in linked) and opened
    direct = re.findall(r"\(NEEDED\).*\[(\S+)\]", run("readelf", "-d", str(ROOT / "build/otad")).stdout)
    for name in direct + opened:
        path = next((x for x in linked if x.endswith("/" + name)), name)
        owners = set()
        for p in {path, os.path.realpath(path), "/usr" + path}:
            owners |= {x.split(":")[0] for x in run("dpkg", "-S", p).stdout.split("\n") if x}
        assert owners & {*packages, "libc6"}, (name, owners)


def test_what_the_container_runs(tmp_path):
    """The environment of the image and of compose, the entry point without an argument, and the
    health check; folders and ports are moved."""
    broker = Broker(tmp_path / "broker").start()
    port = free_port()
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    env = dict(re.findall(r"(OTAD_\w+)=(\S+)", dockerfile("ENV")[0]))
    env.update(compose["otad"]["environment"])
    moved = {"OTAD_DATA_DIR": f"{tmp_path}/data", "OTAD_HTTP_LISTEN": f"0.0.0.0:{port}",
             "OTAD_HTTP_PUBLIC_URL": "http://ota.example.com:8080",
             "OTAD_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
             "OTAD_MQTT_PASSWORD": "any-long-random-text", "OTAD_MQTT_AUTH_DIR": str(broker.auth),
             "OTAD_MQTT_BROKER_PID_FILE": str(broker.pid_file)}  # fmt: skip
    assert set(env) == set(moved), "each one moved by this test"
    entry = json.loads(dockerfile("ENTRYPOINT")[0])
    check = json.loads(re.search(r"CMD (\[.*\])", dockerfile("HEALTHCHECK")[0]).group(1))
    assert entry[0] == check[0] == dockerfile("COPY")[0].split()[-1]
    assert run(OTAD, *check[1:], **moved).returncode == 1, "not well before it runs"
    otad = Process([OTAD, *entry[1:]], tmp_path / "log", env=moved)
    try:
        ready = [OTAD, *check[1:], "--ready"]
        wait(lambda: run(*ready, **moved).returncode == 0 or not otad.alive(), "it is ready")
        assert run(OTAD, *check[1:], **moved).returncode == 0, otad.log.read_text()
        assert (tmp_path / "data/admin-token").stat().st_mode & 0o777 == 0o600
    finally:
        assert otad.end() == 0
        broker.stop()


def test_a_mosquitto_on_the_same_machine(installed, tmp_path):
    """As README says: the sample configuration with auth_dir, the password as a credential, what
    otad-broker.service does, and a mosquitto with config/mosquitto.conf; but for systemd, and with
    folders, ports and owners of this test."""
    ports = {"8080": free_port(), "1883": free_port()}
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mqtt_password").write_text("a-long-random-text\n")
    conf = tmp_path / "otad.toml"
    text = (installed / "usr/share/doc/otad/otad.toml").read_text()
    for old, new in (
        ('auth_dir = ""', 'auth_dir = "/var/lib/otad/broker"'), ("/var/lib/otad", f"{tmp_path}/lib"),
        ("0.0.0.0:8080", f"127.0.0.1:{ports['8080']}"), (":1883", f":{ports['1883']}"),
    ):  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    conf.write_text(text)
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    otad = Process([OTAD, "-c", str(conf)], tmp_path / "log", env=env)
    broker = None
    try:
        wait(lambda: (tmp_path / "lib/broker/passwd").exists() or not otad.alive(), "the logins")
        unit = (installed / "usr/lib/systemd/system/otad-broker.service").read_text()
        watched = (installed / "usr/lib/systemd/system/otad-broker.path").read_text()
        assert "PathChanged=/var/lib/otad/broker/passwd\n" in watched, "the one that is written last"
        for line in re.findall(r"^ExecStart=(/usr/bin/install .*)$", unit, re.M):
            line = line.replace("-o root -g mosquitto ", "")
            line = line.replace("/var/lib/otad", f"{tmp_path}/lib")
            done = run(*line.replace("/etc/mosquitto", str(tmp_path)).split())
            assert done.returncode == 0, done.stderr
        (tmp_path / "mosquitto.conf").write_text(
            (installed / "usr/share/doc/otad/mosquitto.conf").read_text()
            .replace("listener 1883", f"listener {ports['1883']} 127.0.0.1")
            .replace("/etc/mosquitto", str(tmp_path))
            + f"persistence_location {tmp_path}/\n" + ("user root\n" if os.geteuid() == 0 else "")
        )  # fmt: skip
        broker = Process([MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")], tmp_path / "broker.log")
        health = [OTAD, "-c", str(conf), "health", "--ready"]
        wait(lambda: run(*health, **env).returncode == 0 or not broker.alive(), "otad is connected")
        assert broker.alive(), broker.log.read_text()
    finally:
        otad.end()
        if broker:
            broker.end()


def test_every_fuzz_target_has_inputs():
    """Without one, replaying the corpus would prove nothing for it."""
    said = run("make", "-s", "fuzz-inputs")
    assert said.returncode == 0, said.stdout + said.stderr
    said = run("make", "-s", "fuzz-inputs", "FUZZ_NAMES=json nothing")
    assert said.returncode != 0 and "nothing" in said.stderr and "json" not in said.stderr, said


def blocks(readme, part="tour"):
    text = (ROOT / readme).read_text()
    text = text[text.index(f"<!-- {part} -->"): text.index(f"<!-- /{part} -->")]
    return re.findall(r"^```sh\n(.*?)^```$", text, re.S | re.M)


def test_readmes_are_equal_in_content():
    for part in ("tour", "plugin"):
        assert blocks("README.md", part) == blocks("README.zh-CN.md", part)
    english, chinese = (ROOT / "README.md").read_text(), (ROOT / "README.zh-CN.md").read_text()
    for pattern in (r"^#+ ", r"^\|", r"^- ", r"^\d\. "):
        assert len(re.findall(pattern, english, re.M)) == len(re.findall(pattern, chinese, re.M))


def follow(tmp_path, part, *changes, script=None):
    """The commands of a part of the README, or those given, word by word, in one shell; only ports,
    folder and programs are moved. Returns what they said."""
    assert shutil.which("curl") and shutil.which("mosquitto_pub")
    script = "\n".join(script or blocks("README.md", part))
    for old, new in (
        *changes, (f"$PWD/run/{part}", str(tmp_path)), (f"run/{part}", str(tmp_path)),
        ("$PWD/build/otad_mosquitto.so", "@plugin@"), ("build/otad", OTAD), ("@plugin@", PLUGIN),
    ):  # fmt: skip
        script = script.replace(old, new)
    # what a failure half way leaves running
    cleanup = (
        f"trap 'code=$?; kill %1 $(cat {tmp_path}/mosquitto.pid) 2>/dev/null || true; exit $code' EXIT\n"
        "set -m\n"
    )
    done = run("bash", "-e", "-c", cleanup + script, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tour_of_the_readme(tmp_path):
    """A device that connects by itself, and one behind a gateway."""
    said = follow(tmp_path, "tour", ("make deps && make\n", ""), ("18830", str(free_port())),
                  ("18080", str(free_port())))  # fmt: skip
    assert '"otaUpgrade"' in said
    assert re.search(r'"device":"DU_lamp000001"[^}]*"state":"verified"', said), said
    assert re.search(r'"gateway":"DU_hub0000001"', said), said


def test_a_thingscloud_device_of_the_readme(tmp_path):
    said = follow(tmp_path, "plugin", ("18831", str(free_port())), ("18081", str(free_port())))
    assert '"upgrade":true' in said.replace(": ", ":")
    assert re.search(r'"device":"the-access-token"[^}]*"state":"verified"', said), said


def test_help_lists_every_target():
    said = run("make", "-s", "help").stdout
    for target in ("all", "deps", "test", "demo", "lint", "unit", "install", "fuzz", "schema"):
        assert re.search(rf"^{target} ", said, re.M), target
