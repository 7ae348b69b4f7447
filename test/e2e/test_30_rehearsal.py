"""A whole campaign, rehearsed: a fleet of otasim through mosquitto, 1 % → 10 % → 100 %, downloads
failing from the second phase on, otad killed three times; and a fixed firmware for those that are
left. REHEARSAL_DEVICES=5000 (make rehearsal) is the fleet that it is meant for."""
import collections
import os
import time

import pytest

from otalib import PRELOAD, noise, wait
from rehearsal import Ear, Fleet, Journal

N = int(os.environ.get("REHEARSAL_DEVICES", "500"))
LARGE = N > 1000
PATIENCE = 900 if LARGE else 120
AT_ONCE = 250 if LARGE else 60
PER_MINUTE = 2000 if LARGE else 1000
PERCENT, SAMPLE = 5, 40
PACE = ["--interval", "10" if LARGE else "1", "--reboot", "1" if LARGE else "0.3", "--connects",
        "1000"]  # fmt: skip
FAULTS = ["--fail", "cut=4", "--fail", "checksum=4", "--fail", "rollback=1", "--fail", "silent=1",
          "--fail", "suspect=1", "--fail", "slow=2", "--slow", "2", "--fail-version", "2.0.0",
          "--seed", "spring"]  # fmt: skip


class Rehearsal:
    def __init__(self, site):
        self.site, self.otad = site, site.otad
        self.kind, self.kills = site.type(), []
        self.fleet = Fleet(site, N, FAULTS)
        self.fleet.register(self.kind)
        self.otad.firmware(self.kind, "1.0.0")

    def campaign(self, version, **fields):
        firmware = self.otad.firmware(self.kind, version, ("app.bin", noise(version, 30_000)),
                                      release="campaign")  # fmt: skip
        return self.otad.ok("POST", "/campaigns", {
            "name": f"to {version}", "firmware": firmware["id"],
            "deadlines": {"attempts": 1, "accept_s": 60}, **fields})["id"]  # fmt: skip

    def move(self, campaign, what):
        return self.otad.ok("POST", f"/campaigns/{campaign}/{what}")

    def look(self, campaign):
        got = self.otad.ok("GET", f"/campaigns/{campaign}")
        got["offered"] = sum(c["n"] for c in got["counts"])
        got["ended"] = got["offered"] - got["in_progress"]
        return got

    def until(self, campaign, condition, what):
        return wait(lambda: (got := self.look(campaign)) and condition(got) and got, what, PATIENCE)

    def sizes(self, campaign):
        """How many devices each phase has: a percentage picks them by a hash."""
        sums, after = {}, {}
        while True:
            page = self.otad.ok("POST", f"/campaigns/{campaign}/dry-run", after)
            for row in page["counts"]:
                if row["phase"]:
                    sums[row["phase"]] = sums.get(row["phase"], 0) + row["n"]
            if not page["next"]:
                return sums
            after = {"after": page["next"]}

    def kill(self):
        self.otad.kill()
        self.kills.append(time.time() * 1000)
        self.otad.start()


def verified(got):
    return sum(c["n"] for c in got["counts"] if c["state"] == "verified")


@pytest.fixture
def rehearsal(make_site):
    site = make_site({"events.keep": 10_000_000})
    r = Rehearsal(site)
    yield r
    if getattr(r.fleet, "process", None):
        r.fleet.process.end()


def test_a_campaign_is_rehearsed(rehearsal):
    r = rehearsal
    phases = [{"percent": 1, "success_percent": 100}, {"percent": 10}, {"percent": 100}]
    c = r.campaign("2.0.0", phases=phases,
                   pacing={"offers_per_minute": PER_MINUTE, "in_progress": AT_ONCE},
                   thresholds={"failed": {"percent": PERCENT, "min_sample": SAMPLE,
                                          "action": "pause"}})  # fmt: skip
    r.fleet.start("--until", "1.0.0", *PACE)
    r.fleet.ended()  # all have said what they run
    sizes = r.sizes(c)
    assert sum(sizes.values()) == N
    phases[0]["min_sample"] = sizes[1]
    phases[1].update(success_percent=95, min_sample=sizes[2] * 9 // 10)
    r.otad.ok("PATCH", f"/campaigns/{c}", {"phases": phases})
    ear = Ear(r.site)
    r.fleet.start("--spare", str(sizes[1]), "--until", "2.0.0", "--stay", *PACE)
    r.move(c, "start")

    r.until(c, lambda got: got["offered"] >= sizes[1] + 10, "phase 2 is under way")
    r.kill()
    r.until(c, lambda got: got["state"] == "paused", "it pauses")
    quiet = len(ear.heard)
    wait(lambda: len(ear.refused_since(quiet)) >= N * 0.9, "they ask while it is paused", PATIENCE)
    loud = len(ear.heard)
    r.fleet.mend()
    if r.move(c, "resume")["phase"] == 2:  # it has not met its gate, and won't any more
        r.otad.ok("POST", f"/campaigns/{c}/approve", {"force": True})
    for part in (0.35, 0.7):
        r.until(c, lambda got, part=part: got["offered"] >= N * part, f"{part:.0%} have offers")
        r.kill()
    r.fleet.all_done(PATIENCE)
    # of those that are silent, time will tell: it need not be waited for
    r.otad.stop()
    r.otad.start(LD_PRELOAD=str(PRELOAD / "clock.so"), CLOCK_AHEAD_S="120")
    r.until(c, lambda got: got["in_progress"] == 0, "all have ended")
    r.otad.stop()
    journal, plan = Journal(r.otad, c), r.fleet.plan()
    journal.check_counters()
    paused, resumed = journal.check_threshold(PERCENT, SAMPLE)
    most, peak = journal.check_pace(PER_MINUTE, AT_ONCE)
    told = journal.check_outcomes(plan, paused, resumed, r.kills)
    before = {m.object for m in journal.moves if m.type == "update.offered" and m.id < paused}
    after = {m.object for m in journal.moves if m.type == "update.offered" and m.id > resumed}
    assert len(before) + len(after) == len(journal.updates) == N
    offered = {u["id"] for u in journal.updates.values()}
    assert {i for _key, i, upgrade in ear.heard if upgrade} <= offered
    # nothing of what was offered later had left, by then, for anybody's ears
    assert {i for _key, i, upgrade in ear.heard[:loud] if upgrade} <= before
    ear.close()
    print(f"{N} devices, {sizes} in phases, paused after {len(before)} offers; most offers in a "
          f"minute {most}, at once {peak}; {dict(told)}")  # fmt: skip

    # a fixed firmware for those that still run the old one
    left = {key for key, version in journal.versions.items() if version == "1.0.0"}
    assert {told[k] for k in told if k[1] == "failed"} and left
    r.otad.start()
    c = r.campaign("2.0.1", targets={"query": "version==1.0.0"})
    r.move(c, "start")
    gone = sum(n for (_kind, state), n in told.items() if state == "timed_out")
    r.until(c, lambda got: verified(got) == len(left) - gone, "those that live are verified")
    r.move(c, "complete")
    said, runs = r.fleet.stop()
    assert said["versions"] == dict(collections.Counter(runs.values()))
    # an offer that comes twice, the second one when it has ended, is all that may go wrong
    assert said["broken_why"] in ("", "the server answered 410"), said
    r.otad.stop()
    journal = Journal(r.otad, c)
    journal.check_counters()
    assert {u["key"] for u in journal.updates.values()} <= left
    assert journal.versions == runs and collections.Counter(runs.values())["1.0.0"] == gone
