"""The pages that are written by hand."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
RUNBOOK = REPOSITORY / "docs" / "runbook.md"
