"""Where a project demands it, what gives devices a version that they would not have got is confirmed
with another token: what sets a campaign going, and each way around one."""
import pytest

from otalib import noise, wait


@pytest.fixture(scope="module")
def ground(module_site):
    class Ground:
        site = module_site
        otad = module_site.otad
        kind = module_site.type()
        old = module_site.otad.firmware(kind, "1.0.0")
        new = module_site.otad.firmware(kind, "2.0.0", ("a.bin", noise("two")), release="campaign")
        other = module_site.otad.ok("POST", "/tokens", {"name": "second", "scope": "operator"})["token"]

    module_site.otad.ok("PATCH", "/projects/default", {"second_person": True})
    yield Ground
    module_site.otad.ok("PATCH", "/projects/default", {"second_person": False})
    admin = module_site.otad.ok("POST", "/tokens", {"name": "second admin", "scope": "admin"})["token"]
    assert module_site.otad.ok("POST", "/projects/default/confirm", token=admin)["second_person"] is False


def draft(ground, **fields):
    body = {"name": "four eyes", "firmware": ground.new["id"], **fields}
    return ground.otad.ok("POST", "/campaigns", body)


def move(ground, c, what, status, token=None, **body):
    answer = ground.otad.rest("POST", f"/campaigns/{c['id']}/{what}", body, **({"token": token} if token else {}))
    assert answer.status == status, answer
    return answer.json()


def look(ground, c):
    return ground.otad.ok("GET", f"/campaigns/{c['id']}")


def test_a_start_is_confirmed_by_another(ground):
    c = draft(ground)
    assert move(ground, c, "confirm", 409)["code"] == "nothing_to_confirm"
    asked = move(ground, c, "start", 202)
    assert asked["state"] == "draft" and asked["confirmation"]["action"] == "start"
    assert look(ground, c)["confirmation"]["asked_by"] == asked["confirmation"]["asked_by"]
    assert move(ground, c, "start", 409, ground.other)["code"] == "confirmation_pending"
    assert move(ground, c, "confirm", 403)["code"] == "second_person_required"
    assert look(ground, c)["state"] == "draft"
    done = move(ground, c, "confirm", 200, ground.other)
    assert done["state"] == "running" and done["confirmation"] is None
    rows = ground.otad.ok("GET", "/audit?limit=20")["items"]
    mine = [r for r in rows if f"/campaigns/{c['id']}/" in r["object"]]
    assert [r["action"].rsplit("/", 1)[1] for r in mine[:2]] == ["confirm", "start"]
    assert mine[0]["who"] == "second" and mine[1]["who"] != "second"
    # what stops it is one person's
    assert move(ground, c, "pause", 200)["state"] == "paused"
    assert move(ground, c, "abort", 200)["state"] == "aborted"


def test_what_is_wrong_is_told_to_the_first(ground):
    c = draft(ground)
    assert move(ground, c, "approve", 409, force=True)["code"] == "wrong_state"
    assert look(ground, c)["confirmation"] is None
    move(ground, c, "start", 202)
    ground.otad.ok("PATCH", f"/campaigns/{c['id']}", {"pacing": {"in_progress": 9}})  # a draft still
    assert look(ground, c)["confirmation"] is None
    assert move(ground, c, "confirm", 409, ground.other)["code"] == "changed_since_asked"
    move(ground, c, "start", 202)
    assert move(ground, c, "deny", 200, ground.other)["confirmation"] is None
    assert move(ground, c, "confirm", 409, ground.other)["code"] == "nothing_to_confirm"
    assert ground.otad.rest("DELETE", f"/campaigns/{c['id']}").status == 204


def test_phases_changes_and_rollbacks(ground):
    """And what was asked for outlives a kill."""
    c = draft(ground, rollback_firmware=ground.old["id"], phases=[{"percent": 1}, {"percent": 100}])
    move(ground, c, "start", 202)
    ground.otad.kill()
    ground.otad.start()
    move(ground, c, "confirm", 200, ground.other)
    path = f"/campaigns/{c['id']}"
    assert ground.otad.ok("PATCH", path, {"name": "renamed"})["name"] == "renamed"
    wild = {"thresholds": {"failed": {"percent": 90, "min_sample": 1, "action": "pause"}}}
    answer = ground.otad.rest("PATCH", path, wild)
    assert answer.status == 202 and answer.json()["confirmation"]["body"] == wild
    assert "thresholds" not in look(ground, c)
    assert move(ground, c, "confirm", 200, ground.other)["thresholds"] == wild["thresholds"]
    assert move(ground, c, "approve", 202, force=True)["phase"] == 1
    assert move(ground, c, "confirm", 200, ground.other)["phase"] == 2
    move(ground, c, "pause", 200)
    assert move(ground, c, "resume", 202)["state"] == "paused"
    assert move(ground, c, "confirm", 200, ground.other)["state"] == "running"
    assert move(ground, c, "abort", 202, rollback=True)["state"] == "running"
    assert move(ground, c, "abort", 200)["state"] == "aborted"  # without one: at once
    assert wait(lambda: look(ground, c), "it is there")["confirmation"] is None


def test_what_was_held_back_is_completed_by_two(ground):
    """To complete it releases the rest, where the firmware is open: as wild as a start."""
    c = draft(ground, phases=[{"percent": 1}, {"percent": 100}])
    move(ground, c, "start", 202)
    move(ground, c, "confirm", 200, ground.other)
    assert move(ground, c, "complete", 202)["confirmation"]["action"] == "complete"
    move(ground, c, "deny", 200)
    assert move(ground, c, "approve", 202, force=True)["phase"] == 1
    assert move(ground, c, "confirm", 200, ground.other)["phase"] == 2
    move(ground, c, "pause", 200)
    assert move(ground, c, "complete", 202)["state"] == "paused"
    assert move(ground, c, "confirm", 200, ground.other)["state"] == "completed"
    c = draft(ground)
    move(ground, c, "start", 202)
    move(ground, c, "confirm", 200, ground.other)
    assert move(ground, c, "complete", 200)["state"] == "completed"  # all of it was released


# ---- ways around a campaign ----
def patch(ground, path, status, **body):
    answer = ground.otad.rest("PATCH", path, body)
    assert answer.status == status, answer
    return answer.json()


def act(ground, path, status, token=None):
    answer = ground.otad.rest("POST", path, **({"token": token} if token else {}))
    assert answer.status == status, answer
    return answer.json()


def offered(ground, device):
    """What a check would get, once the report of the version has come."""
    path = f"/devices/{device.key}/explain?module=main"

    def known():
        found = ground.otad.ok("GET", path)
        return found if found["current_version"] else None

    return wait(known, f"{device.key} has reported")["firmware"]


def test_an_open_upload_waits_disabled(ground):
    kind = ground.site.type()
    device = ground.site.device(kind, "1.0.0")
    answer = ground.otad.upload(kind, "2.0.0", ("a.bin", noise("open")))
    fw = answer.json()
    path = f"/firmwares/{fw['id']}"
    assert answer.status == 202 and answer.headers["Location"].endswith(path), answer
    assert fw["enabled"] is False and fw["confirmation"]["body"] == {"enabled": True}
    assert patch(ground, path, 409, enabled=True)["code"] == "confirmation_pending"
    assert act(ground, path + "/confirm", 403)["code"] == "second_person_required"
    assert offered(ground, device) is None
    done = act(ground, path + "/confirm", 200, ground.other)
    assert done["enabled"] is True and done["confirmation"] is None
    assert offered(ground, device) is not None
    assert act(ground, path + "/confirm", 409, ground.other)["code"] == "nothing_to_confirm"
    # denied, it stays what it is
    second = ground.otad.upload(kind, "3.0.0", ("a.bin", noise("open"))).json()
    assert act(ground, f"/firmwares/{second['id']}/deny", 200)["confirmation"] is None
    assert ground.otad.ok("GET", f"/firmwares/{second['id']}")["enabled"] is False
    # disabled, or for campaigns, it is one person's
    assert ground.otad.upload(kind, "4.0.0", ("a.bin", noise("open")), enabled=False).status == 201
    assert ground.otad.upload(kind, "5.0.0", ("a.bin", noise("open")), release="campaign").status == 201


def test_what_widens_a_firmware_is_confirmed(ground):
    kind = ground.site.type()
    a, b = ground.site.device(kind, "1.0.0"), ground.site.device(kind, "1.0.0")
    fw = ground.otad.upload(kind, "2.0.0", ("a.bin", noise("wide")), devices=[a.key], must_pass=True).json()
    path = f"/firmwares/{fw['id']}"
    act(ground, path + "/confirm", 200, ground.other)
    assert offered(ground, b) is None
    for wider in ({"devices": []}, {"devices": [a.key, b.key]}, {"must_pass": False}, {"source_versions": ["1.0.0"]}):
        assert patch(ground, path, 202, **wider)["confirmation"]["body"] == wider
        assert offered(ground, b) is None
        act(ground, path + "/deny", 200)
    assert patch(ground, path, 202, devices=[])["devices"] == [a.key]
    assert patch(ground, path, 200, notes="what is new")["confirmation"] is None  # it has changed
    assert act(ground, path + "/confirm", 409, ground.other)["code"] == "changed_since_asked"
    patch(ground, path, 202, devices=[])
    assert act(ground, path + "/confirm", 200, ground.other)["devices"] == []
    assert offered(ground, b) is not None
    # what narrows or stops is not asked about; its way back is
    assert patch(ground, path, 200, denied_devices=[a.key, b.key])["denied_devices"] == [a.key, b.key]
    assert patch(ground, path, 202, denied_devices=[b.key])["denied_devices"] == [a.key, b.key]
    act(ground, path + "/deny", 200)
    assert patch(ground, path, 200, enabled=False)["enabled"] is False
    patch(ground, path, 200, denied_devices=[])  # while it is disabled
    assert patch(ground, path, 202, enabled=True)["enabled"] is False
    assert offered(ground, b) is None
    assert ground.otad.rest("PATCH", path, {"devices": ["nobody"]}).status == 422
    act(ground, path + "/deny", 200)


def test_an_aborted_campaign_is_no_way_around(ground):
    """Disabled, its campaign deleted, enabled again: the last step is the release."""
    kind = ground.site.type()
    device = ground.site.device(kind, "1.0.0")
    fw = ground.otad.upload(kind, "2.0.0", ("a.bin", noise("back"))).json()
    path = f"/firmwares/{fw['id']}"
    c = ground.otad.ok("POST", "/campaigns", {"name": "four eyes", "firmware": fw["id"], "phases": [{"count": 1}]})
    move(ground, c, "start", 202)
    move(ground, c, "confirm", 200, ground.other)
    move(ground, c, "pause", 200)
    act(ground, path + "/confirm", 200, ground.other)
    move(ground, c, "abort", 200)
    assert offered(ground, device) is None
    patch(ground, path, 200, enabled=False)
    ground.otad.ok("DELETE", f"/campaigns/{c['id']}")
    assert patch(ground, path, 202, enabled=True)["enabled"] is False
    assert offered(ground, device) is None
    act(ground, path + "/confirm", 200, ground.other)
    assert offered(ground, device) is not None


def test_an_open_firmware_is_not_released_by_completing(ground):
    """Its only phase is open, and not for all."""
    kind = ground.site.type()
    device = ground.site.device(kind, "1.0.0")
    fw = ground.otad.upload(kind, "2.0.0", ("a.bin", noise("half"))).json()
    body = {"name": "few", "firmware": fw["id"], "phases": [{"devices": [ground.site.device(kind, "1.0.0").key]}]}
    c = ground.otad.ok("POST", "/campaigns", body)
    move(ground, c, "start", 202)
    move(ground, c, "confirm", 200, ground.other)
    act(ground, f"/firmwares/{fw['id']}/confirm", 200, ground.other)
    assert move(ground, c, "complete", 202)["state"] == "running"
    assert offered(ground, device) is None
    assert move(ground, c, "confirm", 200, ground.other)["state"] == "completed"
    assert offered(ground, device) is not None


def test_other_bytes_for_a_running_campaign(ground):
    """A campaign gives deltas of its version, too: one that comes later is a release."""
    kind = ground.site.type()
    device = ground.site.device(kind, "1.0.0")
    fw = ground.otad.firmware(kind, "2.0.0", ("a.bin", noise("full")), release="campaign")
    early = ground.otad.firmware(kind, "v2.0", ("d.bin", noise("early")), release="campaign",
                                 source_versions=["0.9.0"])  # fmt: skip
    c = ground.otad.ok("POST", "/campaigns", {"name": "bytes", "firmware": fw["id"]})
    move(ground, c, "start", 202)
    move(ground, c, "confirm", 200, ground.other)
    assert offered(ground, device)["id"] == fw["id"]
    path = f"/firmwares/{early['id']}"
    assert patch(ground, path, 202, source_versions=["1.0.0"])["source_versions"] == ["0.9.0"]
    act(ground, path + "/deny", 200)
    late = ground.otad.upload(kind, "v2.0.0", ("d.bin", noise("late")), release="campaign", source_versions=["1.0.0"])
    assert late.status == 202 and late.json()["enabled"] is False
    assert offered(ground, device)["id"] == fw["id"]
    act(ground, f"/firmwares/{late.json()['id']}/confirm", 200, ground.other)
    assert offered(ground, device)["id"] == late.json()["id"]
    move(ground, c, "abort", 200)


def test_the_order_of_versions_is_two_persons(ground):
    path = f"/device-types/{ground.site.type()}"
    assert patch(ground, path, 200, description="as ever")["confirmation"] is None
    asked = patch(ground, path, 202, version_scheme="opaque")
    assert asked["version_scheme"] == "auto" and asked["confirmation"]["action"] == "change"
    assert act(ground, path + "/confirm", 403)["code"] == "second_person_required"
    assert act(ground, path + "/confirm", 200, ground.other)["version_scheme"] == "opaque"
    patch(ground, path, 202, version_scheme="auto")
    assert act(ground, path + "/deny", 200)["version_scheme"] == "opaque"


def test_to_do_without_takes_two(ground):
    path = "/projects/default"
    asked = patch(ground, path, 202, second_person=False)
    assert asked["second_person"] is True and asked["confirmation"]["body"] == {"second_person": False}
    assert act(ground, path + "/confirm", 403)["code"] == "second_person_required"
    assert act(ground, path + "/confirm", 403, ground.other)["code"] != "second_person_required"  # no admin
    assert patch(ground, path, 200, second_person=True)["second_person"] is True
    assert act(ground, path + "/deny", 200)["confirmation"] is None
    assert ground.otad.ok("GET", path)["second_person"] is True
