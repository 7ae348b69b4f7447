"""A campaign to a fleet of otasim rehearse, and what the rows say of it afterwards: every move in
the order in which it was committed, against what was declared and who was meant to fail."""
import collections
import csv
import json
import os
import pathlib
import signal
import sqlite3
import subprocess

import paho.mqtt.client as paho

from otalib import OTAD, Process, wait

OTASIM = os.environ.get("OTASIM", str(pathlib.Path(OTAD).with_name("otasim")))
MINUTE = 60_000
ENDS = ("verified", "rejected", "failed", "rolled_back", "timed_out", "canceled", "unverified")


class Fleet:
    """One otasim rehearse; faults: --fail and what goes with it."""

    password = "the-fleets-secret"

    def __init__(self, site, n, faults):
        self.site, self.n, self.faults = site, n, faults
        self.prefix = site.name("DU_fleet") + "-"
        self.log = site.dir / "fleet.log"
        self.csv = site.dir / "fleet.csv"

    def register(self, kind):
        rows = self.call("import-rows", str(self.n), "--type", kind, "--prefix", self.prefix,
                         "--password", self.password)  # fmt: skip
        answer = self.site.otad.rest("POST", "/devices/import", rows,
                                     headers={"Content-Type": "text/csv"})  # fmt: skip
        assert answer.status in (200, 201), answer

    @staticmethod
    def call(*args):
        return subprocess.run([OTASIM, *args], check=True, capture_output=True, text=True).stdout

    def plan(self):
        """key -> how it is meant to fail."""
        said = self.call("rehearse", "--plan", "--devices", str(self.n), "--prefix", self.prefix,
                         *self.faults)  # fmt: skip
        return {r["key"]: r["kind"] for r in csv.DictReader(said.splitlines())}

    def start(self, *more):
        self.process = Process(
            [OTASIM, "rehearse", "--broker", f"127.0.0.1:{self.site.broker.port}", "--devices",
             str(self.n), "--prefix", self.prefix, "--password", self.password, *self.faults,
             "--report", str(self.csv), *more], self.log)  # fmt: skip

    def ended(self):
        """It ends by itself, as --until says."""
        assert self.process.wait(900) == 0, self.log.read_text()[-2000:]

    def mend(self):
        self.process.send(signal.SIGUSR1)
        wait(lambda: "mended" in self.log.read_text(), "the fleet is mended")

    def all_done(self, patience):
        """With --stay."""
        wait(lambda: "all are done" in self.log.read_text(), "all are done", patience, 0.2)

    def stop(self):
        """Its last line, and what each device runs."""
        assert self.process.end() == 0, self.log.read_text()[-2000:]
        rows = csv.DictReader(self.csv.read_text().splitlines())
        return (json.loads(self.log.read_text().splitlines()[-1]),
                {r["key"]: r["version"] for r in rows})  # fmt: skip


class Ear:
    """Hears every command to a device, with otad's own login: (key, id, upgrade)."""

    def __init__(self, site):
        kw = {"client_id": "ear"}
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2
            kw["callback_api_version"] = paho.CallbackAPIVersion.VERSION1
        self.heard, self.up = [], False
        self.client = paho.Client(**kw)
        self.client.username_pw_set("otad", site.otad.password)
        self.client.on_connect = lambda c, *_: c.subscribe("command_send/+", 0)
        self.client.on_subscribe = lambda *_: setattr(self, "up", True)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", site.broker.port)
        self.client.loop_start()
        wait(lambda: self.up, "the ear is connected")

    def _on_message(self, _client, _data, m):
        said = json.loads(m.payload)
        self.heard.append((m.topic.split("/")[1], said["id"], said["params"]["upgrade"]))

    def refused_since(self, at):
        return {key for key, _id, upgrade in self.heard[at:] if not upgrade}

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def killed(history, kills):
    """otad was killed while this update was under way."""
    return any(history[0][0] <= at <= history[-1][0] for at in kills)


Move = collections.namedtuple("Move", "id at type object data")


class Journal:
    """The rows of a campaign, read from the database of an otad that does nothing more to it."""

    def __init__(self, otad, campaign):
        self.campaign = campaign
        db = sqlite3.connect(f"file:{otad.data}/otad.db?mode=ro", uri=True)
        self.updates = {
            row[0]: dict(zip(("id", "key", "state", "phase", "suspect", "ended_at"), row))
            for row in db.execute(
                "SELECT u.id, d.key, u.state, u.phase, u.suspect, u.ended_at FROM ota_update u "
                "JOIN device d ON d.id = u.device_id WHERE u.campaign_id = ?", (campaign,))
        }  # fmt: skip
        self.moves = [
            m for m in (Move(*row[:4], json.loads(row[4])) for row in db.execute(
                "SELECT id, at, type, object_id, data FROM event ORDER BY id"))
            if (m.type.startswith("update.") and m.object in self.updates)
            or (m.type.startswith("campaign.") and m.object == campaign)
        ]  # fmt: skip
        self.of = collections.defaultdict(list)  # the moves of each update
        for m in self.moves:
            if m.type.startswith("update."):
                self.of[m.object].append(m)
        self.counts = {(p, s): n for p, s, n in db.execute(
            "SELECT phase, state, n FROM campaign_count WHERE campaign_id = ? AND n <> 0",
            (campaign,))}  # fmt: skip
        self.active = db.execute("SELECT active FROM campaign WHERE id = ?", (campaign,)).fetchone()[0]
        self.phases = {no: row for no, *row in db.execute(
            "SELECT no, offered, ended, verified FROM campaign_phase WHERE campaign_id = ?",
            (campaign,))}  # fmt: skip
        self.history = {}
        for update, at, to in db.execute(
                "SELECT h.update_id, h.at, h.to_state FROM ota_update_history h JOIN ota_update u "
                "ON u.id = h.update_id WHERE u.campaign_id = ? ORDER BY h.update_id, h.seq",
                (campaign,)):  # fmt: skip
            self.history.setdefault(update, []).append((at, to))
        self.versions = dict(db.execute(
            "SELECT d.key, v.version FROM device_module v JOIN device d ON d.id = v.device_id "
            "WHERE v.module = 'main'"))  # fmt: skip
        db.close()

    def check_counters(self):
        """Those that are kept are those of a recount."""
        rows = list(self.updates.values())
        assert self.counts == collections.Counter((u["phase"], u["state"]) for u in rows)
        assert self.active == sum(u["ended_at"] is None for u in rows)
        for no, (offered, ended, verified) in self.phases.items():
            own = [u for u in rows if u["phase"] == no]
            assert offered == len(own), no
            assert ended == sum(u["state"] in ENDS and u["state"] != "canceled" for u in own), no
            assert verified == sum(u["state"] == "verified" and not u["suspect"] for u in own), no
        for update, moves in self.history.items():
            assert moves[-1][1] == self.updates[update]["state"]
            assert [to for _, to in moves] == ["planned"] + [m.type[7:] for m in self.of[update]]

    def check_pace(self, per_minute, at_once):
        """No minute saw more offers, no moment more updates under way."""
        times = sorted(at for moves in self.history.values() for at, to in moves if to == "offered")
        first = most = 0
        for last, at in enumerate(times):
            while times[first] <= at - MINUTE:
                first += 1
            most = max(most, last - first + 1)
        assert most <= per_minute, (most, per_minute)
        open_, peak = set(), 0
        for m in self.moves:
            if m.type == "update.offered":
                open_.add(m.object)
            elif m.type[7:] in ENDS:
                open_.discard(m.object)
            peak = max(peak, len(open_))
        assert peak <= at_once, (peak, at_once)
        return most, peak

    def check_threshold(self, percent, sample):
        """It paused with the very end that crossed the line, and nothing was offered until it was
        resumed. Returns the ids of the moves that paused and resumed it."""
        phase, no, paused, due, ended, failed, stops = 1, 0, False, False, {}, {}, []
        for m in self.moves:
            if due:
                assert m.type == "campaign.paused", (m, "after the end that crossed the line")
            due = False
            if m.type == "update.offered":
                assert not paused, m
                assert self.updates[m.object]["phase"] <= phase, m
            elif m.type == "campaign.paused":
                paused = True
                stops.append(m.id)
                assert m.data["reason"] == "threshold_failed", m
                assert ended[no] >= sample and failed[no] * 100 > percent * ended[no]
            elif m.type == "campaign.resumed":
                paused, ended, failed = False, {}, {}
                stops.append(m.id)
            elif m.type == "campaign.phase_opened":
                phase = m.data["phase"]
            elif m.type[7:] in ENDS and m.type != "update.canceled":
                no = self.updates[m.object]["phase"]
                ended[no] = ended.get(no, 0) + 1
                failed[no] = failed.get(no, 0) + (m.type == "update.failed")
                due = (not paused and ended[no] >= sample
                       and failed[no] * 100 > percent * ended[no])  # fmt: skip
        assert not due and not paused
        return stops

    def check_outcomes(self, plan, paused, resumed, kills):
        """Every device has one update, and it ended as it was meant to. Downloads fail until the
        campaign is resumed; the first phase is spared."""
        meant = {"cut": "failed", "checksum": "failed", "rollback": "rolled_back",
                 "silent": "timed_out", "suspect": "suspect", "slow": "verified"}  # fmt: skip
        mended = {**meant, "cut": "verified", "checksum": "verified"}
        assert len({u["key"] for u in self.updates.values()}) == len(self.updates)
        told, wrong = collections.Counter(), []
        for u in self.updates.values():
            state = "suspect" if u["suspect"] else u["state"]
            kind = plan.get(u["key"]) if u["phase"] > 1 else None
            offered = next(m.id for m in self.of[u["id"]] if m.type == "update.offered")
            fine = {mended.get(kind, "verified")} if offered > resumed else {meant.get(kind, "verified")}
            if offered < paused and self.of[u["id"]][-1].id > resumed:
                fine |= {mended.get(kind, "verified")}  # begun before, ended after it was mended
            if kind == "suspect" and killed(self.history[u["id"]], kills):
                fine |= {"verified"}  # what was served before a kill may lack, so it is believed
            told[kind, state] += 1
            if state not in fine:
                wrong.append((u["key"], kind, state, fine, self.history[u["id"]]))
        assert not wrong, (len(wrong), wrong[:5])
        return told
