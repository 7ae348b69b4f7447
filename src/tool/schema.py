#!/usr/bin/python3
"""Print the schema that all migrations together make: sql/schema.sql, for reading only."""
import pathlib
import sqlite3

root = pathlib.Path(__file__).resolve().parent.parent.parent
db = sqlite3.connect(":memory:")
for path in sorted((root / "sql/migrations").glob("*.sql")):
    db.executescript(path.read_text())
print("-- Written by `make schema` from sql/migrations, for reading. Do not edit.")
for (text,) in db.execute(
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name"
):
    print(f"\n{text};")
