"""`init` on a terminal: it asks for what no option says, and for nothing else."""

import os
import pty
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from tests.cli.command import ARGV, Command

QUESTIONS = ("File to write", "Program", "Task Queue", "Entities", "Cluster", "Namespace")


def answer(command: Command, *words: str, answers: str) -> tuple[int, str]:
    """`init WORDS` on a terminal where somebody has typed the answers already; status and what was shown."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answers.encode())
        process = subprocess.Popen(
            [*ARGV, "init", *words],
            cwd=command.folder,
            env=dict(command.environ),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        out, _ = process.communicate(timeout=60)
        os.close(theirs)
        assert out == b""
        return process.returncode, _shown(ours)
    finally:
        os.close(ours)


def _shown(terminal: int) -> str:
    text = b""
    while True:
        try:
            text += os.read(terminal, 4096)
        except OSError:
            # Nobody else has it open any more.
            return text.decode()


def written(folder: Path, name: str = "fleet.toml") -> dict[str, Any]:
    return tomllib.loads((folder / name).read_text())


def test_it_asks_for_everything(command: Command, folder: Path) -> None:
    answers = "mail.toml\nshop.mail\nletters\n7\ncluster:7233\npost\n"
    status, shown = answer(command, answers=answers)
    assert status == 0, shown
    assert all(question in shown for question in QUESTIONS)
    tree = written(folder, "mail.toml")
    assert tree["pools"] == {"mail": {"program": "shop.mail", "task_queue": "letters", "entities": 7}}
    assert tree["cluster"] == {"address": "cluster:7233", "namespace": "post"}
    assert "temporal-fleet up -c mail.toml" in shown


def test_an_empty_answer_is_the_default_and_a_wrong_one_is_asked_again(
    command: Command, folder: Path
) -> None:
    status, shown = answer(command, answers="\n\n\nmany\n3\nembedded\n\n")
    assert status == 0, shown
    assert shown.count("Entities") == 2
    tree = written(folder)
    assert tree["pools"]["orders"] == {"program": "shop.orders", "task_queue": "orders", "entities": 3}
    assert tree["cluster"] == {"embedded": {}}


def test_what_an_option_says_is_not_asked(command: Command, folder: Path) -> None:
    given = ("f.toml", "--program", "shop.mail", "-q", "letters", "-n", "1", "--embedded")
    status, shown = answer(command, *given, answers="\n")
    assert status == 0, shown
    assert [question for question in QUESTIONS if question in shown] == ["Namespace"]
    assert written(folder, "f.toml")["cluster"] == {"embedded": {}}


def test_yes_asks_nothing_and_nor_does_a_script(command: Command, folder: Path) -> None:
    status, shown = answer(command, "--yes", answers="")
    assert status == 0, shown
    assert not any(f"{question}" in shown for question in QUESTIONS)
    on_the_terminal = written(folder)
    assert command("init", "script.toml").status == 0
    assert written(folder, "script.toml") == on_the_terminal


def test_a_file_that_is_there_is_told_before_anything_else_is_asked(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text("mine")
    status, shown = answer(command, answers="\n")
    assert status == 1
    assert "fleet.toml is there already" in shown
    assert "Program" not in shown
    assert (folder / "fleet.toml").read_text() == "mine"
