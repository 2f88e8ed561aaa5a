"""The operator's config file on disk: read, replaced in one step, given back as it was. Its meaning does not
belong here.
"""

import os
from pathlib import Path

from temporal_fleet.supervisor.cli.failure import Failure


class ConfigFile:
    """A config file and the text that it had when we first looked.

    Raises Failure when it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.shown = path
        # Through a symbolic link: the link is to stay one.
        self._path = path.resolve()
        self.text = self._read()

    def replace(self, text: str) -> None:
        """Writes another text, in one step: whoever reads meanwhile sees the old or the new one, whole.

        Raises Failure when somebody else has edited the file since we read it.
        """
        if self._read() != self.text:
            raise Failure(
                f"{self.shown} was edited by somebody else just now, so it is left alone", "run it again"
            )
        try:
            self._write(text)
        except OSError as error:
            raise Failure(
                f"cannot write {self.shown}: {error.strerror}",
                "its folder must be writable: the new text takes the place of the old one there",
            ) from error
        self.text = text

    def _read(self) -> str:
        try:
            return self._path.read_bytes().decode()
        except OSError as error:
            problem = f"cannot read {self.shown}: {error.strerror}"
            raise Failure(problem, "let this user read it, or name another file with -c") from error
        except UnicodeDecodeError as error:
            raise Failure(f"{self.shown} is not UTF-8 at byte {error.start}", "save it as UTF-8") from error

    def _write(self, text: str) -> None:
        before = self._path.stat()
        draft = self._path.with_name(f".{self._path.name}.{os.urandom(4).hex()}")
        # Nobody may read it before it has the mode of the file: `env` holds secrets.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o7777)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
