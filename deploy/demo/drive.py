"""`temporal-fleet demo`: starts a fleet, has the story played, sums up, leaves nothing behind."""

import argparse
import asyncio
import shlex
import signal
from pathlib import Path

from temporal_fleet.demo.display import Display
from temporal_fleet.demo.fleet import Fleet, FleetTrouble, shown_command
from temporal_fleet.demo.story import Story

DEFAULT_ORDERS = 300


def main() -> int:
    arguments = _arguments()
    # A closed terminal and a plain `kill` end the demo as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    display = Display()
    try:
        with Fleet(Path(__file__).parent) as fleet:
            story = Story(fleet, display, arguments.orders)
            asyncio.run(story.play())
            display.print_summary(story.figures.rows())
            if arguments.stay:
                fleet.stays = True
                display.print_what_next(story.ui, _next_commands(fleet))
    except FleetTrouble as trouble:
        display.trouble(str(trouble))
        return 1
    except KeyboardInterrupt:
        display.say("interrupted: the fleet is stopped and its folder removed")
        return 128 + signal.SIGINT
    return 0 if story.figures.completed == arguments.orders else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="temporal-fleet demo",
        description="A small shop on an embedded Cluster: places orders, kills a process, scales a pool.",
    )
    parser.add_argument(
        "--orders", type=_number_of_orders, default=DEFAULT_ORDERS, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--stay", action="store_true", help="leave the fleet and its Cluster running")
    return parser.parse_args()


def _number_of_orders(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of orders; give 1 or more")
    return int(text)


def _next_commands(fleet: Fleet) -> list[str]:
    command, config, folder = shown_command(), shlex.quote(str(fleet.config)), shlex.quote(str(fleet.folder))
    return [
        f"{command} status --watch -c {config}",
        f"{command} events -c {config}",
        f"{command} scale orders=6 -c {config}",
        f"{command} dump orders-1 -c {config}",
        f"{command} stop -c {config} && rm -r {folder}",
    ]
