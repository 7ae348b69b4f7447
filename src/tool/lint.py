#!/usr/bin/python3
"""make lint: one line per check, then the sum. Arguments, if any, name the checks to run."""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# A room may include the doors of rooms with a lower rank, and its own.
RANK = {
    "util": 0, "crypto": 1, "json": 1, "conf": 2, "loop": 2, "db": 3, "store": 4, "audit": 4, "event": 4, "catalog": 5,
    "device": 6, "update": 7, "task": 8, "dialect": 9, "mqtt": 10, "http": 10, "webhook": 10, "api": 11,
    "core": 12, "daemon": 13, "sim": 13, "cli": 13, "plugin": 13,
}  # fmt: skip
DOOR_OF = {"db_queries.h": "db", "util_metrics.def": "util", "device_topics.def": "device"}
LIBRARY = {
    r"uv(/.*)?\.h|uv\.h": "loop",
    r"mosquitto\.h|mqtt_protocol\.h": "mqtt plugin",
    r"mosquitto_.*\.h": "plugin",
    r"microhttpd\.h": "http",
    r"sqlite3.*\.h": "db",
    r"jansson.*\.h": "json",
    r"openssl/.*": "crypto",
    r"curl/.*": "webhook",
}
SQL = re.compile(
    r"\b(SELECT\b.*\bFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
    r"|(CREATE|DROP|ALTER)\s+(TABLE|INDEX|VIEW|TRIGGER|UNIQUE))\b"
)
FORBIDDEN = re.compile(r"\b(sleep|usleep|nanosleep|strcpy|strcat|sprintf|strtok|atoi|atol)\s*\(")
MARK = re.compile(r"\b(TODO|FIXME|XXX)\b")
LINES_MAX = 800


def c_files(*folders):
    for folder in folders:
        yield from sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".c", ".h"))


def rel(path):
    return path.relative_to(ROOT).as_posix()


def room_of(path):
    parts = rel(path).split("/")
    if parts[0] == "include":
        return DOOR_OF.get(parts[-1], path.stem)
    return parts[1]


def without_comments(text):
    """Comments become blanks; strings and line numbers stay."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)

    def blank(m):
        t = m.group(0)
        return t if t[0] in "\"'" else re.sub(r"[^\n]", " ", t)

    return pattern.sub(blank, text)


def includes(path):
    for no, line in enumerate(path.read_text().splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if m:
            yield no, m.group(1), m.group(2)


def check_layers():
    """A room includes only doors to its left (the order stands in CONTRIBUTING.md)."""
    for path in c_files("include", "src"):
        room = room_of(path)
        if room == "tool":
            continue
        if room not in RANK:
            yield f"{rel(path)}: the room {room} has no place in the order"
            continue
        for no, kind, name in includes(path):
            if kind == "<":
                continue
            if (ROOT / "include" / name).exists() or name in DOOR_OF:
                other = DOOR_OF.get(name, pathlib.Path(name).stem)
                if other != room and RANK.get(other, 99) >= RANK[room]:
                    yield f"{rel(path)}:{no}: {room} must not include the door of {other}"
            else:
                places = [path.parent / name, ROOT / "src" / name, ROOT / "src" / room / name]
                inside = [p.resolve() for p in places if p.exists()]
                if not inside:
                    yield f"{rel(path)}:{no}: {name} is nowhere"
                elif room_of(inside[0]) != room:
                    yield f"{rel(path)}:{no}: {name} is private to {room_of(inside[0])}"


def check_libraries():
    """Each third-party header only in its one room."""
    for path in c_files("include", "src"):
        for no, _, name in includes(path):
            for pattern, owner in LIBRARY.items():
                if re.fullmatch(pattern, name) and room_of(path) not in owner.split():
                    yield f"{rel(path)}:{no}: <{name}> belongs to {owner} alone"


def check_sql():
    """No SQL text in C: it lives in sql/."""
    for path in c_files("include", "src"):
        if room_of(path) == "tool":
            continue
        code = without_comments(path.read_text())
        joined = re.sub(r'"(\s*)"', lambda m: re.sub(r"[^\n]", "", m.group(1)) + "", code)
        for m in re.finditer(r'"(?:\\.|[^"\\])*"', joined, re.S):
            if SQL.search(m.group(0)):
                no = joined.count("\n", 0, m.start()) + 1
                yield f"{rel(path)}:{no}: SQL text in C: {m.group(0)[:60]}"


def check_words():
    """No sleeping, no unbounded string functions, nothing left to do."""
    for path in c_files("include", "src"):
        text = path.read_text()
        for no, line in enumerate(without_comments(text).splitlines(), 1):
            if FORBIDDEN.search(re.sub(r'"(?:\\.|[^"\\])*"', '""', line)):
                yield f"{rel(path)}:{no}: {line.strip()[:80]}"
        for no, line in enumerate(text.splitlines(), 1):
            if MARK.search(line):
                yield f"{rel(path)}:{no}: {line.strip()[:80]}"


def check_lines():
    """No file over 800 lines, no line with blanks at its end."""
    files = [*c_files("include", "src", "test")]
    for folder in ("src", "test", "demo"):
        files += [p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".sh")]
    for path in files:
        lines = path.read_text().splitlines()
        if len(lines) > LINES_MAX:
            yield f"{rel(path)}: {len(lines)} lines"
        for no, line in enumerate(lines, 1):
            if line != line.rstrip():
                yield f"{rel(path)}:{no}: blanks at the end"


def run(command, why=None):
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        yield from (done.stdout.strip().splitlines() or [why or f"{command[0]} failed"])


def check_format():
    """clang-format 14; other releases break lines otherwise."""
    said = subprocess.run(["clang-format", "--version"], capture_output=True, text=True, check=True)
    if " version 14." not in said.stdout:
        print(f"    (not asked of {said.stdout.strip()})")
        return
    yield from run(["make", "--no-print-directory", "fmt-check"])


def check_tidy():
    """clang-tidy, as .clang-tidy says."""
    yield from run(["make", "--no-print-directory", "-j2", "-k", "tidy"])


def check_shell():
    """shellcheck on every shell script."""
    scripts = []
    for path in sorted(ROOT.rglob("*")):
        if not path.is_file() or set(path.parts) & {".git", "build", "run"}:
            continue
        with open(path, "rb") as f:
            first = f.readline(80)
        if re.match(rb"#!\s*/(usr/)?bin/(env )?(ba)?sh\b", first):
            scripts.append(rel(path))
    yield from run(["shellcheck", *scripts])


def check_python():
    """Every Python file compiles."""
    files = [p for p in ROOT.rglob("*.py") if not set(p.parts) & {".git", "build", "run"}]
    for path in sorted(files):
        try:
            compile(path.read_text(), rel(path), "exec")
        except SyntaxError as e:
            yield f"{rel(path)}:{e.lineno}: {e.msg}"


def check_schema():
    """sql/schema.sql is what the migrations make."""
    made = subprocess.run([str(ROOT / "src/tool/schema.py")], capture_output=True, text=True,
                          check=True)  # fmt: skip
    kept = ROOT / "sql/schema.sql"
    if not kept.exists() or kept.read_text() != made.stdout:
        yield "sql/schema.sql is stale: make schema"


def check_migrations():
    """Numbered without gaps; one that has landed on the main branch is never edited."""
    names = sorted(p.name for p in (ROOT / "sql/migrations").glob("*"))
    for i, name in enumerate(names, 1):
        if not re.fullmatch(rf"{i:04d}_[a-z0-9_]+\.sql", name):
            yield f"sql/migrations/{name}: expected number {i:04d}"
    if not shutil.which("git") or not (ROOT / ".git").exists():
        return
    base = subprocess.run(["git", "rev-parse", "-q", "--verify", "origin/HEAD"], cwd=ROOT,
                          capture_output=True, text=True, check=False)  # fmt: skip
    if base.returncode == 0:
        done = subprocess.run(
            ["git", "diff", "--name-only", "--diff-filter=MDR", base.stdout.strip(), "--",
             "sql/migrations"], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
        for name in done.stdout.split():
            yield f"{name}: has landed, must not be edited; write the next one"


def main():
    checks = {
        name[6:]: fn for name, fn in globals().items() if name.startswith("check_")
    }
    names = sys.argv[1:] or list(checks)
    failed = 0
    for name in names:
        findings = list(checks[name]())
        print(f"{'FAIL' if findings else 'ok  '} {name}: {checks[name].__doc__}", flush=True)
        for finding in findings:
            print(f"    {finding}")
        failed += bool(findings)
    print(f"lint: {len(names) - failed} fine, {failed} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
