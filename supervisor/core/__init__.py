"""The pure core: (fleet, event, now) -> (fleet, actions). Values only; no clock, no I/O, no randomness."""
