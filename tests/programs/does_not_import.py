"""Cannot be imported."""

raise RuntimeError("this program does not import")
