"""What the supervisor tells of a program's code, from the disk and from what a fork server said."""

import os
from pathlib import Path

import pytest

from temporal_fleet.protocol.code import code_digest, distributions, file_digest, pack
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.helpers import Prepared
from temporal_fleet.supervisor.shell.codes import Codes


def prepared(folder: Path, *names: str) -> Prepared:
    """As a fork server says it that imported these files."""
    paths = [os.fsencode(folder / name) for name in names]
    files = {path: file_digest(path) for path in paths}
    search_path = [os.fsencode(folder)]
    return Prepared(
        workflows=[],
        activities=[],
        nexus_services=[],
        seconds=0.0,
        code=code_digest(files, distributions(search_path)),
        files=pack(files),
        search_path=search_path,
    )


def test_a_changed_file_is_told_of_those_who_imported_it_alone(tmp_path: Path) -> None:
    for name in ("orders.py", "billing.py", "shared.py"):
        (tmp_path / name).write_text(name)
    codes = Codes()
    orders, billing = (
        prepared(tmp_path, "orders.py", "shared.py"),
        prepared(tmp_path, "billing.py", "shared.py"),
    )
    codes.learn("orders", orders)
    codes.learn("billing", billing)
    assert {name: code.digest for name, code in codes.now().items()} == {
        "orders": orders.code,
        "billing": billing.code,
    }
    (tmp_path / "orders.py").write_text("changed")
    now = codes.now()
    assert now["orders"].digest != orders.code
    assert now["orders"].edited == (str(tmp_path / "orders.py"),)
    assert now["billing"].digest == billing.code
    assert now["billing"].edited == ()
    (tmp_path / "shared.py").unlink()
    assert codes.now()["billing"].edited == (str(tmp_path / "shared.py"),)


def test_another_version_of_a_distribution_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "shop-1.0.dist-info").mkdir()
    (tmp_path / "shop.py").touch()
    codes = Codes()
    before = prepared(tmp_path, "shop.py")
    codes.learn("shop", before)
    (tmp_path / "shop-1.0.dist-info").rename(tmp_path / "shop-1.1.dist-info")
    now = codes.now()["shop"]
    assert now.digest != before.code
    assert now.edited == ("shop-1.0", "shop-1.1")


def test_a_fork_server_that_is_gone_has_no_code(tmp_path: Path) -> None:
    (tmp_path / "shop.py").touch()
    codes = Codes()
    codes.learn("shop", prepared(tmp_path, "shop.py"))
    codes.forget("shop")
    codes.forget("never known")
    assert codes.now() == {}


def test_rubbish_is_refused(tmp_path: Path) -> None:
    said = Prepared(workflows=[], activities=[], nexus_services=[], seconds=0.0, files=b"rubbish")
    with pytest.raises(PeerRubbish):
        Codes().learn("shop", said)
