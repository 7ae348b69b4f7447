"""Tasks to some hundreds of connected devices while otad or the broker is killed (SIGKILL)."""
import collections
import contextlib
import signal
import socket
import sqlite3
import threading

import pytest

from otalib import wait
from swarm import Swarm

N = 300
RATE = 4000  # a minute: five seconds for all of them; two of them may come in one go


@pytest.fixture
def fleet(request, make_site):
    site = make_site(plugin=request.param, persistent=True)
    kind = site.type()
    keys = [site.name("DU_many") for _ in range(N)]
    answer = site.otad.rest(
        "POST", "/devices/import",
        "key,device_type,password\n" + "".join(f"{k},{kind},secret-of-{k}\n" for k in keys),
        headers={"Content-Type": "text/csv"},
    )  # fmt: skip
    assert answer.status in (200, 201), answer
    site.otad.firmware(kind, "2.0.0")
    swarm = Swarm(site.broker, keys).connected()
    swarm.report(version="1.0.0")
    # who has not been heard for long counts as offline; a kill forgets the last seconds of that
    wait(lambda: noted(site) == N, "all are noted")
    swarm.site, swarm.kind = site, kind
    yield swarm
    swarm.close()


def noted(site):
    items = site.otad.ok("GET", "/devices?limit=500")["items"]
    return sum(d["last_seen_at"] is not None for d in items)


def start(fleet, action):
    otad = fleet.site.otad
    task = otad.ok("POST", "/tasks", {"name": action["kind"], "action": action,
                                      "target": {"device_type": fleet.kind},
                                      "rate_per_minute": RATE})  # fmt: skip
    run = otad.ok("POST", f"/tasks/{task['id']}/run")["run_id"]
    return f"/tasks/{task['id']}/runs/{run}"


def kill_in_the_middle(fleet, runs, kill):
    for part in (0.1, 0.55):
        wait(lambda: min(fleet.site.otad.ok("GET", r)["devices"] for r in runs) >= N * part,
             "the runs go on", step=0.01)  # fmt: skip
        got = [fleet.site.otad.ok("GET", r) for r in runs]
        assert not any(g["ended_at"] for g in got), (part, got)
        kill()


def recounted(fleet, run):
    """The run at its end. Its counts are those of its list, which has every device once."""
    otad = fleet.site.otad
    wait(lambda: otad.ok("GET", run)["ended_at"], f"{run} ends")
    items, after = [], ""
    while True:
        page = otad.ok("GET", f"{run}/devices?limit=500{after}")
        items += page["items"]
        if not page["next"]:
            break
        after = f"&after={page['next']}"
    assert collections.Counter(i["device"] for i in items) == dict.fromkeys(fleet.members, 1)
    got = otad.ok("GET", run)
    assert got["state"] == "done" and got["devices"] == N
    counts = {(c["result"], c["reason"]): c["n"] for c in got["counts"]}
    assert counts == collections.Counter((i["result"], i["reason"]) for i in items)
    return counts, {i["device"]: i["message_id"] for i in items}


def both_tasks(fleet, kill, again=0):
    """A push and a command to all, killed twice on the way. again: so often MQTT itself may say the
    same thing again, as a killed broker forgets what it got and what it gave."""
    push = start(fleet, {"kind": "ota_push", "version_attribute": "version", "module": "main"})
    beep = start(fleet, {"kind": "command_send", "method": "beep", "params": {}})
    kill_in_the_middle(fleet, (push, beep), kill)
    for run, done in ((push, "offered"), (beep, "sent")):
        counts, _ids = recounted(fleet, run)
        # who has not come back from the broker's death yet is away: it is kept
        assert set(counts) <= {(done, ""), ("pending_offline", "")}, counts
    fleet.connected()
    fleet.report(temperature=20)  # what may not have left, or is kept, comes with a sign of life
    wait(lambda: all(fleet.got("otaUpgrade").values()), "every device has its push")
    counts, offers = recounted(fleet, push)
    assert counts == {("offered", ""): N}
    total = fleet.site.otad.ok("GET", "/updates?state=offered&total=1&limit=1")["total"]
    assert total == N, "no device has two updates"
    counts, beeps = recounted(fleet, beep)
    assert counts == {("sent", ""): N}
    wait(lambda: sum(not m for m in fleet.got("beep").values()) < N / 2, "most have heard")
    pushed, heard = fleet.got("otaUpgrade"), fleet.got("beep")
    # a push that comes again is the same one; of a command otad says nothing twice
    for key in fleet.members:
        assert {m["id"] for m in pushed[key]} == {offers[key]} and len(pushed[key]) <= 3 + again, key
        assert pushed[key][0]["params"]["version"] == "2.0.0"
        assert {m["id"] for m in heard[key]} <= {beeps[key]} and len(heard[key]) <= 1 + again, key
    # only what was on its way at one of the moments is not certain
    assert sum(len(m) > 1 for m in pushed.values()) < N / 2
    assert sum(len(m) != 1 for m in heard.values()) < N / 2


@pytest.mark.parametrize("fleet", [False], ids=["stock"], indirect=True)
def test_otad_is_killed(fleet):
    def kill():
        fleet.site.otad.kill()
        fleet.site.otad.start()

    both_tasks(fleet, kill)


@pytest.mark.parametrize("fleet", [True], ids=["plugin"], indirect=True)
def test_the_broker_is_killed(fleet):
    def kill():
        fleet.site.broker.stop(signal.SIGKILL)
        wait(lambda: fleet.site.otad.metric("otad_mqtt_connected") == 0, "otad notices", step=0.01)
        fleet.site.broker.start()
        fleet.site.otad.wait_for("/readyz")
        fleet.connected()

    both_tasks(fleet, kill, again=4)  # towards it and from it, both times


class Proxy:
    """Between otad and its broker. Held, it swallows what otad's sending session says."""

    def __init__(self, port):
        self.to, self.held = port, False
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self.server.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
                for a, b, up in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pipe, args=(a, b, up), daemon=True).start()

    def _pipe(self, source, sink, up):
        sends = None  # by its client id, in the first packet
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if sends is None:
                    sends = up and b"otad-tx" in data
                if not (sends and self.held):
                    sink.sendall(data)
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.server.close()


def confirmed(otad):
    with contextlib.closing(sqlite3.connect(f"file:{otad.data}/otad.db?mode=ro", uri=True)) as db:
        return db.execute("SELECT min(confirmed >= cursor) FROM task_run").fetchone()[0] == 1


def test_a_kept_push_outlives_a_crash_on_its_way(make_site):
    """It was kept, its run is over; then it is sent, committed, and never reaches the broker."""
    made = []

    def conf(broker):
        made.append(Proxy(broker.port))
        return {"mqtt.url": f"mqtt://127.0.0.1:{made[0].port}"}

    site = make_site(conf, plugin=True)
    proxy, otad = made[0], site.otad
    kind = site.type()
    device = site.device(kind, "1.0.0")
    otad.firmware(kind, "2.0.0")
    device.close()
    wait(lambda: otad.ok("GET", f"/devices/{device.key}")["online"] is False, "it is away")
    runs = []
    for action in ({"kind": "ota_push", "version_attribute": "version", "module": "main"},
                   {"kind": "command_send", "method": "beep"}):  # fmt: skip
        task = otad.ok("POST", "/tasks", {"name": "t", "action": action,
                                          "target": {"devices": [device.key]}})  # fmt: skip
        run = otad.ok("POST", f"/tasks/{task['id']}/run")["run_id"]
        runs.append(f"/tasks/{task['id']}/runs/{run}")
    result = lambda: [[c["result"] for c in otad.ok("GET", r)["counts"]] for r in runs]  # noqa: E731
    wait(lambda: all(otad.ok("GET", r)["ended_at"] for r in runs), "the runs end")
    assert result() == [["pending_offline"]] * 2
    wait(lambda: confirmed(otad), "nothing of the runs is on its way")
    proxy.held = True
    device = site.connect(device.key)
    device.report(temperature=20)
    wait(lambda: result() == [["offered"], ["sent"]], "they are on their way")
    otad.kill()
    proxy.held = False
    otad.start()
    device.report(temperature=21)
    assert device.receive()["method"] == "otaUpgrade", "of a command nothing is said twice"
    assert [u["state"] for u in otad.updates(device.key)] == ["offered"]
    # now it is with the broker: it does not come a third time
    device.report(temperature=22)
    check = device.offer()
    assert check["id"] == otad.updates(device.key)[0]["id"] and device.inbox.empty()
    proxy.close()
