"""Imports well; its entities crash before they connect."""

from shop import *  # noqa: F403


def after_fork() -> None:
    raise RuntimeError("boom")
