"""The web server as a process, with the descriptor of its end of the pair as its argument. It holds no state
that anybody would miss, and lives exactly as long as the pair."""

import asyncio
import os
import signal
import sys
from typing import NoReturn

from temporal_fleet.protocol.channel import Channel, ChannelClosed, inherited_channel
from temporal_fleet.protocol.helpers import Serve, Serving, ToWeb
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.title import prepare_title, set_title
from temporal_fleet.supervisor.web.server import CannotServe, serve
from temporal_fleet.supervisor.web.site import Site
from temporal_fleet.supervisor.web.source import Source

_TRY_AGAIN = 2.0
_NOT_FOR_HELPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Meant for the supervisor, whose terminal and whose service manager tell everybody."""


async def _work(channel: Channel[ToWeb]) -> NoReturn:
    order: Serve = await asyncio.to_thread(channel.receive)
    set_title(order.fleet, "web server")
    channel.socket.setblocking(False)
    asyncio.get_running_loop().add_reader(channel, _attend, channel)
    run = RunDirectory(order.run_dir)
    source = Source(run)
    site = Site(run, source)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.listen())
        tasks.create_task(site.watch())
        tasks.create_task(_serve(order.http, site, channel))
    raise AssertionError("none of these ends")


async def _serve(http: str, site: Site, channel: Channel[ToWeb]) -> None:
    """Until the process ends. A port that is taken may be free in a moment."""
    told: Serving | None = None
    while True:
        try:
            _, address = await serve(http, site.answer)
        except CannotServe as obstacle:
            state = Serving(address="", problem=str(obstacle))
        else:
            state = Serving(address=address)
        if state != told:
            channel.send(state)
            told = state
        if state.address:
            return
        await asyncio.sleep(_TRY_AGAIN)


def _attend(channel: Channel[ToWeb]) -> None:
    """There is one order, and it came. What is left to be heard is the end."""
    try:
        channel.receive_frame()
    except BlockingIOError:
        return
    except ChannelClosed:
        os._exit(0)


def main() -> NoReturn:
    prepare_title()
    for number in _NOT_FOR_HELPERS:
        signal.signal(number, signal.SIG_IGN)
    channel: Channel[ToWeb] = inherited_channel(int(sys.argv[1]), ToWeb)
    try:
        asyncio.run(_work(channel))
    except ChannelClosed:
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


if __name__ == "__main__":
    main()
