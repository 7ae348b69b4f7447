"""The pages of doc/: their commands, word by word, after README's Start."""
import re

import pytest

from otalib import ROOT, free_port
from test_12_packaging import blocks, follow

PAGES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "doc").glob("*.md") if "<!-- tour -->" in p.read_text())


def test_there_are_pages():
    assert len(PAGES) == 3
    readme = (ROOT / "README.md").read_text()
    for page in PAGES:
        assert page in readme, "a page that nobody finds"


@pytest.mark.parametrize("page", PAGES)
def test_a_page(page, tmp_path):
    start = blocks("README.md", "tour")[0]
    said = follow(tmp_path, "tour", ("make deps && make\n", ""), ("18830", str(free_port())),
                  ("18080", str(free_port())), script=[start, *blocks(page)])  # fmt: skip
    assert re.search(r'"state":"verified"', said), said
