"""`plan`: what a reload would do, without doing it."""

import click
import msgspec

from temporal_fleet.protocol.control import GetPlan, PlanReply
from temporal_fleet.protocol.report import StepReport
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.failure import say
from temporal_fleet.supervisor.cli.place import Place, fleet_options

_SIGNS = {"start": "+", "stop": "-", "replace": "~", "change": "~", "keep": "="}
_COLOURS = {"+": "green", "-": "red", "~": "yellow"}


@click.command()
@fleet_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(place: Place, as_json: bool) -> None:
    """Print what a reload would do, without doing it.

    Each step says what changed, from what to what: what is replaced for it one by one, and what applies
    without a restart. Code that changed on the disk counts."""
    with Supervisor(place) as supervisor:
        steps = steps_of(supervisor)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"steps": steps}), indent=2))
        return
    for step in steps:
        click.echo(line(step))
    if is_idle(steps):
        say("nothing to do: the fleet is as its config asks")


def steps_of(supervisor: Supervisor) -> list[StepReport]:
    return supervisor.ask(GetPlan(id=new_id()), PlanReply).steps


def is_idle(steps: list[StepReport]) -> bool:
    return all(step.action == "keep" for step in steps)


def line(step: StepReport) -> str:
    """`~ billing replace: program changed`."""
    sign = _SIGNS.get(step.action, "?")
    words = [sign, step.target]
    if step.action != "keep":
        words.append(step.action + (":" if step.reason else ""))
    if step.reason:
        words.append(step.reason)
    return click.style(" ".join(words), fg=_COLOURS.get(sign))
