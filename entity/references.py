"""`module` and `module:attribute` -> the object, or a refusal that the user understands. No policy about
what the object must be."""

import importlib
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

# They travel as one datagram, which must fit the socket's buffer: 208 KiB, and a character has up to four.
_DETAIL_LIMIT = 40_000
_SUMMARY_LIMIT = 1_000


class ProgramError(Exception):
    """The Worker Program cannot be run as configured. Trying again changes nothing.

    `reason` is one line: what, where, and what to do. `detail` is the traceback, or every reason.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = (detail or reason)[-_DETAIL_LIMIT:]


def resolve(reference: str, key: str) -> Any:
    """The object that `module:attribute` names, for the config key `key`. Raises ProgramError."""
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise ProgramError(f'{key} = "{reference}" is not of the form "module:attribute"')
    return attribute_of(import_program(module_name, key), attribute, key)


def attribute_of(module: ModuleType, path: str, key: str) -> Any:
    """`attribute` or `attribute.attribute` of a module. Raises ProgramError."""
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            names = ", ".join(sorted(n for n in vars(module) if not n.startswith("_")))
            raise ProgramError(
                f'{key} = "{module.__name__}:{path}": {place_of(module)} has no `{path}`; correct the name',
                f"{error}\nnames in {module.__name__}: {names}",
            ) from error
    return found


def import_program(name: str, key: str) -> ModuleType:
    """Import a module of the user's. Raises ProgramError with the user's file and line."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ProgramError(
                f'{key} = "{name}": there is no module `{error.name}` in {sys.path[0]}, nor installed; '
                "correct the name, or set `path` to the folder that holds it",
                trimmed_traceback(error),
            ) from error
        raise _import_failed(name, key, error) from error
    except SystemExit as error:
        raise ProgramError(
            f'{key} = "{name}" exits when it is imported{_at(error, name)}; put what runs it under '
            '`if __name__ == "__main__":`',
            trimmed_traceback(error),
        ) from error
    # Whatever the user's code raises, a BaseException of its own included, is the program's failure.
    except BaseException as error:
        raise _import_failed(name, key, error) from error


def _import_failed(name: str, key: str, error: BaseException) -> ProgramError:
    remedy = ""
    if isinstance(error, RuntimeError) and "Runtime.prevent_default" in str(error):
        remedy = (
            "; it makes a Temporal client or runtime when it is imported, which no fork survives: make it in "
            "`after_fork`, or take the client as the parameter of a factory"
        )
    return ProgramError(
        f'{key} = "{name}" cannot be imported: {summary(error)}{_at(error, name)}{remedy}',
        trimmed_traceback(error),
    )


def summary(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    message = " ".join(str(error).split())
    if len(message) > _SUMMARY_LIMIT:
        message = f"{message[:_SUMMARY_LIMIT]} …"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def place_of(module: ModuleType) -> str:
    return module.__file__ or module.__name__


def _at(error: BaseException, module: str) -> str:
    place = users_place(error, module)
    return f" ({place})" if place else ""


def users_place(error: BaseException, module: str) -> str | None:
    """`file:line` where an exception came from, for the user who wrote `module`: the innermost frame of
    that module's package or of a file that is not installed, else the innermost of all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(_users_part(error.__traceback__))
        if _is_a_file(frame.f_code.co_filename)
    ]
    own = [(frame, line) for frame, line in frames if _is_users(frame, module)]
    chosen = (own or frames)[-1:]
    return f"{chosen[0][0].f_code.co_filename}:{chosen[0][1]}" if chosen else None


def trimmed_traceback(error: BaseException) -> str:
    """The traceback from the user's first frame on, without the import machinery's."""
    report = traceback.TracebackException(type(error), error, _users_part(error.__traceback__))
    report.stack = traceback.StackSummary.from_list(f for f in report.stack if _is_a_file(f.filename))
    if not report.stack:
        return "".join(report.format_exception_only()).rstrip()
    return "".join(report.format()).rstrip()


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None:
        filename = tb.tb_frame.f_code.co_filename
        if _is_a_file(filename) and not filename.startswith(_MACHINERY):
            return tb
        tb = tb.tb_next
    return None


def _is_users(frame: FrameType, module: str) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if package == module.partition(".")[0]:
        return True
    filename = frame.f_code.co_filename
    return not filename.startswith(_INSTALLED) and not {"site-packages", "dist-packages"} & set(
        Path(filename).parts
    )


def _is_a_file(filename: str) -> bool:
    return not filename.startswith("<")


_INSTALLED = str(Path(traceback.__file__).parent) + "/"
_MACHINERY = (str(Path(__file__).parent) + "/", importlib.__file__)
