"""What the README shows of the program is what the program prints."""

from __future__ import annotations

import re

from harness.commands import strategies
from strategies import registry


def test_table_of_strategies_is_that_of_the_registry(root):
    found = re.search("<!-- strategies -->\n(.*?)\n<!-- /strategies -->", (root / "README.md").read_text(), re.DOTALL)
    assert found, "README.md has no table of strategies between its marks"
    assert found[1] == strategies.markdown(), "README.md: replace the table by `harness strategies --markdown`"
    assert found[1].count("\n") == len(registry.names()) + 1
