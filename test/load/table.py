"""The table that a run prints, and build/bench.json."""

import json
import os
import platform
import statistics
import time


def median(values):
    return statistics.median(values) if values else 0.0


def spread(values):
    """How far the rounds lie apart, as "3.1 .. 3.4"; nothing for one round."""
    if len(values) < 2:
        return ""
    return f"{min(values):.4g} .. {max(values):.4g}"


def figure(row):
    v = row["value"]
    return f"{v:.4g}" if abs(v) < 10000 else f"{v:,.0f}"


class Table:
    def __init__(self):
        self.rows = []
        self.began = time.time()

    def add(self, part, what, values, unit, at_least=None, at_most=None, note=""):
        """values: one figure for each round; the median counts. No bound: for information."""
        values = list(values)
        value = median(values)
        verdict = ""
        if at_least is not None:
            verdict = "ok" if value >= at_least else "missed"
        if at_most is not None:
            verdict = "ok" if value <= at_most else "missed"
        self.rows.append({
            "part": part, "what": what, "value": value, "unit": unit, "rounds": values,
            "at_least": at_least, "at_most": at_most, "verdict": verdict, "note": note})
        print("  " + self.line(self.rows[-1]), flush=True)

    @staticmethod
    def line(r):
        target = ""
        if r["at_least"] is not None:
            target = f">= {r['at_least']:g}"
        if r["at_most"] is not None:
            target = f"<= {r['at_most']:g}"
        return (f"{r['part']}  {r['what']:<58} {figure(r):>9} {r['unit']:<6} {target:<9} "
                f"{r['verdict']:<7} {spread(r['rounds'])}{'  ' + r['note'] if r['note'] else ''}")

    def failed(self, part, why):
        self.rows.append({"part": part, "what": "could not be measured", "value": 0, "unit": "",
                          "rounds": [], "at_least": None, "at_most": None, "verdict": "missed",
                          "note": why})
        print("  " + self.line(self.rows[-1]), flush=True)

    def print(self):
        print("\n" + machine())
        print(f"   {'':<58} {'figure':>9} {'':<6} {'target':<9} {'':<7} of the rounds")
        for r in self.rows:
            print(self.line(r))
        missed = sum(r["verdict"] == "missed" for r in self.rows)
        met = sum(r["verdict"] == "ok" for r in self.rows)
        print(f"{met} targets met, {missed} missed, {time.time() - self.began:.0f} s", flush=True)
        return missed

    def markdown(self):
        out = [f"Machine: {machine()}. {time.strftime('%Y-%m-%d', time.gmtime())}.", "",
               "| part | what | figure | target | | of the rounds |", "|---|---|---|---|---|---|"]
        for r in self.rows:
            target = "" if r["at_least"] is None else f"≥ {r['at_least']:g}"
            target = target if r["at_most"] is None else f"≤ {r['at_most']:g}"
            rounds = " ".join(x for x in (spread(r["rounds"]), r["note"]) if x)
            out.append(f"| {r['part']} | {r['what']} | {figure(r)} {r['unit']} | {target} "
                       f"| {r['verdict']} | {rounds} |")
        return "\n".join(out)

    def into_document(self, path):
        """Puts the table between the two marks of a document."""
        begin, end = "<!-- figures: begin -->\n", "\n<!-- figures: end -->"
        with open(path) as f:
            before, rest = f.read().split(begin, 1)
        after = rest.split(end, 1)[1]
        with open(path + ".new", "w") as f:
            f.write(before + begin + self.markdown() + end + after)
        os.rename(path + ".new", path)

    def save(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w") as f:
            json.dump({"machine": machine(), "seconds": time.time() - self.began,
                       "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                       "rows": self.rows}, f, indent=1)
        os.rename(path + ".new", path)


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/etc/os-release") as f:
        names = dict(x.rstrip("\n").split("=", 1) for x in f if "=" in x)
    return f"{os.cpu_count()} x {model}, {names.get('PRETTY_NAME', '').strip(chr(34))}"
