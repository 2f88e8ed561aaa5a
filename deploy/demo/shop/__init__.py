"""A small shop as ordinary Temporal code: what a user would write, and nothing that knows what runs it."""
