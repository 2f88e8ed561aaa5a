"""How serious a log line is, in words. Apart from the form of lines, which readers of lines do not need."""

LEVELS = ("debug", "info", "warning", "error", "critical")
"""The mildest first."""
