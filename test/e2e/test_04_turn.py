"""The turn: nothing is acknowledged or answered before it is durable."""
import http.client
import os
import signal

import pytest

from otalib import PRELOAD, noise, request, wait

SHIM = PRELOAD / "faultfs.so"


@pytest.fixture
def faulty(make_site, tmp_path):
    """A site whose disk obeys faults('word …')."""
    control = tmp_path / "faults"
    site = make_site(preload=SHIM, env={"FAULTFS_CONTROL": str(control)})

    def faults(words=""):
        fresh = tmp_path / "faults.new"
        fresh.write_text(words)
        os.replace(fresh, control)

    site.faults = faults
    return site


def commits_settled(otad):
    """Wait until nothing waits for the writer (last_seen is flushed now and then)."""
    wait(lambda: otad.metric("otad_mqtt_unacked_messages") == 0, "everything is acknowledged")


def test_killed_before_the_commit(faulty):
    """The message was taken but could not be stored: the broker still has it, sends it again."""
    otad = faulty.otad
    device = faulty.device(faulty.type(), "1.0.0")
    commits_settled(otad)
    failures = otad.metric("otad_db_commit_failures_total")
    faulty.faults("wal_enospc")
    device.report(version="2.0.0")
    wait(lambda: otad.metric("otad_db_commit_failures_total") > failures, "it can't commit")
    otad.kill()
    faulty.faults()
    otad.start()
    version_becomes(otad, device, "2.0.0")


def test_killed_in_the_commit(faulty):
    """Written but not synced: whether it is there or not, it is handled in the end."""
    otad = faulty.otad
    device = faulty.device(faulty.type(), "1.0.0")
    commits_settled(otad)
    faulty.faults("kill_before_sync=1")
    device.report(version="2.0.0")
    wait(lambda: not otad.process.alive(), "otad killed itself at the commit")
    assert otad.stop() == -signal.SIGKILL
    faulty.faults()
    otad.start()
    version_becomes(otad, device, "2.0.0")


def version_becomes(otad, device, version):
    wait(lambda: otad.ok("GET", f"/devices/{device.key}")["versions"]["main"]["version"] == version,
         "the report is delivered again and handled")  # fmt: skip


def test_killed_after_the_commit(faulty):
    """Stored but not acknowledged: it comes twice and means the same."""
    otad = faulty.otad
    kind = faulty.type()
    otad.firmware(kind, "2.0.0")
    device = faulty.device(kind, "1.0.0")
    commits_settled(otad)
    faulty.faults("kill_after_sync=1")
    device.publish("event_report", {"method": "otaCheck", "params": {}})
    wait(lambda: not otad.process.alive(), "otad killed itself after the commit")
    assert device.inbox.empty(), "nothing was answered"
    faulty.faults()
    otad.process = None
    otad.start()
    offer = device.receive()
    assert offer["params"]["upgrade"] is True
    updates = otad.updates(device.key)
    assert [u["id"] for u in updates] == [offer["id"]], "one update, not two"


def test_the_state_is_there_after_the_commit(faulty):
    """As above, with the broker gone: only the database can know."""
    otad = faulty.otad
    device = faulty.device(faulty.type(), "1.0.0")
    commits_settled(otad)
    faulty.faults("kill_after_sync=1")
    device.report(version="3.0.0")
    wait(lambda: not otad.process.alive(), "otad killed itself after the commit")
    otad.process = None
    faulty.faults()
    faulty.broker.stop(signal.SIGKILL)
    otad.start(ready=False)
    shown = otad.ok("GET", f"/devices/{device.key}")
    assert shown["versions"]["main"]["version"] == "3.0.0"
    faulty.broker.start()


def test_killed_in_the_commit_of_a_rest_write(faulty):
    """No answer; afterwards the whole of it is there (with its rule), or nothing."""
    otad = faulty.otad
    commits_settled(otad)
    faulty.faults("kill_before_sync=1")
    with pytest.raises((OSError, http.client.HTTPException)):
        otad.rest("POST", "/device-types", {"key": "half", "name": "x"})
    wait(lambda: not otad.process.alive(), "otad killed itself")
    otad.process = None
    faulty.faults()
    otad.start()
    rules = otad.ok("GET", "/rules?device_type=half")["items"] if otad.rest(
        "GET", "/device-types/half").status == 200 else None
    assert rules is None or len(rules) == 1
    assert otad.rest("POST", "/device-types", {"key": "half", "name": "x"}).status in (201, 409)


@pytest.mark.parametrize("fault", ["wal_enospc", "sync_eio"])
def test_failed_commit_acknowledges_nothing(faulty, fault):
    """Nobody gets an answer; when the disk is well again all goes on without a restart."""
    otad = faulty.otad
    kind = faulty.type()
    otad.firmware(kind, "2.0.0")
    device = faulty.device(kind, "1.0.0")
    commits_settled(otad)
    failures = otad.metric("otad_db_commit_failures_total")
    published = otad.metric("otad_mqtt_published_total")
    faulty.faults(fault)
    device.publish("event_report", {"method": "otaCheck", "params": {}})  # QoS 1: the broker has it
    wait(lambda: otad.metric("otad_db_commit_failures_total") > failures, "the commit fails")
    refused = otad.rest("POST", "/device-types", {"key": f"k{fault}", "name": "x"})
    assert refused.status in (503, 507), refused
    assert otad.metric("otad_mqtt_published_total") == published
    assert device.inbox.empty(), "no answer before the commit"
    assert otad.updates(device.key) == []
    # reading goes on meanwhile
    assert otad.rest("GET", f"/devices/{device.key}").status == 200
    assert request(otad.port, "GET", "/healthz").status == 200
    faulty.faults()
    offer = device.receive()
    assert offer["params"]["version"] == "2.0.0"
    wait(lambda: otad.rest("POST", "/device-types",
                           {"key": f"k{fault}", "name": "x"}).status in (201, 409),
         "writing works again")  # fmt: skip
    assert otad.process.alive()
    assert len(otad.updates(device.key)) == 1


def test_full_disk_during_upload(faulty):
    otad, kind = faulty.otad, faulty.type()
    faulty.faults(f"write_enospc={otad.data}/")
    answer = otad.upload(kind, "1.0", ("a.bin", noise("full", 3 << 20)))
    assert answer.status == 507, answer
    faulty.faults()
    wait(lambda: not [p for p in otad.data.rglob("tmp/*") if p.is_file()], "nothing is left")
    assert otad.firmware(kind, "1.0")["version"] == "1.0"


def test_slow_disk_does_not_slow_what_writes_nothing(faulty):
    otad = faulty.otad
    kind = faulty.type()
    otad.firmware(kind, "2.0.0")
    device = faulty.device(kind, "1.0.0")
    first = device.offer()
    faulty.faults("sync_delay_us=1000000")
    slow = faulty.device(kind)
    for _ in range(10):
        slow.publish("attributes", {"version": "1.0.0"}, wait_ack=False)
        assert device.offer()["id"] == first["id"]
    faulty.faults()


def test_checks_go_on_while_a_commit_stands_still(faulty):
    """As many as would stop if they had to be acknowledged together with what is being written."""
    otad = faulty.otad
    kind = faulty.type()
    otad.firmware(kind, "2.0.0")
    device, slow = faulty.device(kind, "1.0.0"), faulty.device(kind)
    first = device.offer()
    commits_settled(otad)
    commits = otad.metric("otad_db_commits_total")
    faulty.faults("sync_block")
    slow.publish("attributes", {"version": "1.0.0"}, wait_ack=False)
    wait(lambda: otad.metric("otad_mqtt_unacked_messages") >= 1, "it is taken")
    for _ in range(1200):
        device.publish("event_report", {"method": "otaCheck", "params": {}}, wait_ack=False)
    for _ in range(1200):
        assert device.receive()["id"] == first["id"]
    assert otad.metric("otad_db_commits_total") == commits
    faulty.faults()
    commits_settled(otad)


def test_messages_are_acknowledged_only_after_the_commit(faulty):
    """While the commit stands still, the broker keeps the message as unacknowledged."""
    otad = faulty.otad
    device = faulty.device(faulty.type(attributes_response=True), "1.0.0")
    device.receive("attributes_response")
    commits_settled(otad)
    commits = otad.metric("otad_db_commits_total")
    faulty.faults("sync_delay_us=3000000")
    device.report(version="1.0.1")
    wait(lambda: otad.metric("otad_mqtt_unacked_messages") >= 1, "it is taken")
    if otad.metric("otad_db_commits_total") == commits:
        assert device.inbox.empty(), "no answer before the commit"
    device.receive("attributes_response")
    assert otad.metric("otad_db_commits_total") > commits
    faulty.faults()


def test_order_per_device(site):
    """A report and the check right behind it: the check sees the report."""
    kind = site.type()
    site.otad.firmware(kind, "100")
    device = site.device(kind)
    for i in range(1, 100):
        device.publish("attributes", {"version": str(i)}, wait_ack=False)
    device.publish("event_report", {"method": "otaCheck", "params": {}}, wait_ack=False)
    device.receive()
    shown = site.otad.ok("GET", f"/devices/{device.key}")
    assert shown["versions"]["main"]["version"] == "99"


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL])
def test_broker_comes_back(site, upgrade, signo):
    def meanwhile():
        assert request(site.otad.port, "GET", "/readyz").status == 503
        assert site.otad.rest("GET", "/device-types").status == 200

    site.restart_broker(upgrade.device, signo=signo, meanwhile=meanwhile)
    assert upgrade.device.offer()["params"]["version"] == "2.0.0"
