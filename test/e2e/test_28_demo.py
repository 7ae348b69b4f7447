"""make demo, as a newcomer runs it, in a folder and on ports of its own."""
import os
import re
import signal
import subprocess

import pytest

from otalib import ROOT, Process, free_port, listening, wait


@pytest.fixture(scope="module")
def firmware():
    """The demo's images; kept where the demo keeps them."""
    done = subprocess.run([ROOT / "demo/images.sh", ROOT / "run/firmware"], capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"Debian's mirror can't be reached: {done.stderr[-200:]}")


@pytest.fixture
def place(tmp_path):
    return {"DEMO_DIR": str(tmp_path / "demo"), "DEMO_BROKER_PORT": str(free_port()),
            "DEMO_HTTP_PORT": str(free_port())}  # fmt: skip


def demo(place, *command, **env):
    return subprocess.run(
        command or ["demo/run"], cwd=ROOT, env={**os.environ, **place, "DEMO_ONCE": "1", **env},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def gone(place):
    return not any(listening(int(place[p])) for p in ("DEMO_BROKER_PORT", "DEMO_HTTP_PORT"))


def test_make_demo_once(firmware, place):
    done = demo(place, "make", "--no-print-directory", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    at = -1
    for step in (
        "broker +mosquitto on 127.0.0.1:" + place["DEMO_BROKER_PORT"],
        "otad +ready on http://127.0.0.1:" + place["DEMO_HTTP_PORT"],
        "operator +creates the device type",
        "operator +uploads .*: [0-9]+ bytes, md5 [0-9a-f]{32}",
        "operator +registers the device",
        "update .* planned -> offered ",
        "update .* -> verified ",
        "demo .* the update is verified",
        "demo +otad stopped",
        "demo +mosquitto stopped",
    ):
        found = re.compile("^" + step, re.M).search(said, at + 1)
        assert found, f"{step!r} after {at} in\n{said}"
        at = found.start()
    assert gone(place)
    again = demo(place)
    assert again.returncode == 0, "what an earlier demo left is no obstacle\n" + again.stdout


def test_demo_stays_up_until_it_is_stopped(firmware, place, tmp_path):
    log = tmp_path / "log"
    running = Process([ROOT / "demo/run"], log, env={**place, "DEMO_ONCE": ""})
    try:
        wait(lambda: "Ctrl-C stops it" in log.read_text() or not running.alive(), "it is up")
        said = log.read_text()
        lines = re.findall(r"^ +(curl .*)$", said, re.M)
        assert len(lines) == 3, said
        for line in lines:
            done = subprocess.run(["sh", "-c", line.replace("curl", "curl -sSf", 1)], cwd=ROOT,
                                  capture_output=True, text=True, check=False)  # fmt: skip
            assert done.returncode == 0 and "DU_demo000001" in done.stdout + line, (line, done)
    finally:
        code = running.end(signal.SIGINT)
    assert code == 0, log.read_text()
    assert gone(place)


def test_demo_says_what_is_wrong(place, tmp_path):
    (tmp_path / "demo").mkdir()
    precious = tmp_path / "demo/precious"
    precious.write_text("mine")
    done = demo(place)
    assert done.returncode == 1 and "not empty" in done.stdout, done.stdout + done.stderr
    assert precious.read_text() == "mine"
    done = demo(place, DEMO_HTTP_PORT="many")
    assert done.returncode == 1 and "DEMO_HTTP_PORT=many is no port" in done.stdout
