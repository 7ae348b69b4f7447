"""Where a project demands it, what sets a campaign going is confirmed with another token."""
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
