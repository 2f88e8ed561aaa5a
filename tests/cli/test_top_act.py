"""An act of `top` as a real process, at a stand-in for the supervisor (see wire)."""

from pathlib import Path

from temporal_fleet.protocol.control import ControlReply, ControlRequest, Rejected, Restart
from temporal_fleet.supervisor.cli.top_act import RunningAct
from tests.cli.wire import answers, entity, pool, report, stand_in
from tests.waiting import wait_until


def test_what_was_confirmed_is_done_though_the_screen_is_left_at_once(folder: Path, run_dir: Path) -> None:
    config, asked = folder / "fleet.toml", folder / "asked"
    config.write_text(f'[fleet]\nrun_dir = "{run_dir}"\n')

    def refuse(request: ControlRequest) -> ControlReply:
        assert isinstance(request, Restart)
        asked.touch()
        return Rejected(id=request.id, problems=["not now"])

    with stand_in(run_dir, answers(report(pools=[pool()], entities=[entity()]), refuse)):
        act = RunningAct(("restart", "orders-1", "-c", str(config)))
        act.leave()
        wait_until(asked.exists, what="the supervisor is asked")
        # It fails at nothing that it prints, and is gone.
        assert act.ended() == 1
