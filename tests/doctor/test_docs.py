"""The table of findings in the docs is complete: each code has one row, with its meaning and what to do."""

from __future__ import annotations

import re

from perception.system.home import ROOT
from tests.doctor.codes import codes_in_source

PAGE = ROOT / "docs" / "operations.md"
SECTION = "\n## What the doctor finds\n"


def test_every_finding_has_one_row_and_every_row_a_finding() -> None:
    section = PAGE.read_text().split(SECTION)[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$", section, re.MULTILINE)

    assert sorted(code for code, _, _ in rows) == sorted(codes_in_source())
