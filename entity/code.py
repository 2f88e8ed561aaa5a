"""The code of a Worker Program, as it was imported: which modules are its own, what stood in their files, and
the same code again for every sandbox that imports them anew, whatever stands in the files by then.

A Worker's sandbox runs the modules of a workflow once for each execution. If it read them from the disk each
time, an edited file would change, or break, what runs before anybody asked for a reload.
"""

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from temporal_fleet.protocol.code import content_digest, file_digest
from temporal_fleet.protocol.spec import ProgramSpec

_OURS = "temporal_fleet"
_LIBRARIES = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class _Kept:
    """A module's code, and where it came from."""

    path: str
    locations: list[str] | None
    code: CodeType


class OwnCode(MetaPathFinder):
    """Stands first on sys.meta_path: lets the others find, and keeps what they find of the program's own."""

    def __init__(self, spec: ProgramSpec) -> None:
        self._path = spec.path.rstrip(os.sep) + os.sep
        self._program = [
            reference.partition(":")[0]
            for reference in (spec.program, spec.after_fork, spec.data_converter)
            if reference is not None
        ]
        libraries = [f"{folder}{os.sep}" for folder in _library_folders()]
        self._around = tuple(f for f in libraries if self._path.startswith(f) and f != self._path)
        """Folders of installed code that the program itself lies in."""
        self._libraries = tuple(f for f in libraries if f not in self._around)
        self._digests: dict[bytes, bytes] = {}
        """Of source files, as they were when they were compiled."""
        self._others: set[bytes] = set()
        """Extension modules, archives, bytecode without a source, what import hooks of the program load."""
        self._kept: dict[str, _Kept] = {}
        self._settled = False

    def settle(self) -> None:
        """From now on, modules that were imported are not read again."""
        self._settled = True
        for name, module in tuple(sys.modules.items()):
            spec = getattr(module, "__spec__", None)
            origin = getattr(spec, "origin", None)
            # A module that runs as `__main__` has its own name there alone.
            own_name = getattr(spec, "name", name)
            if isinstance(origin, str) and os.path.isabs(origin) and self._owns(own_name, origin):  # noqa: PTH117
                self._others.add(os.fsencode(_file_of(origin)))

    def add(self, files: Mapping[bytes, bytes]) -> None:
        """What a fork of this process imported besides."""
        self._digests.update({path: digest for path, digest in files.items() if path not in self._digests})

    def files(self) -> Mapping[bytes, bytes]:
        """Path -> digest of the content, of everything of the program's own that was imported."""
        return {**{path: file_digest(path) for path in self._others}, **self._digests}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # Whoever reloads a module has a target, and wants what is on the disk.
        if self._settled and target is None and (kept := self._kept.get(fullname)) is not None:
            return importlib.util.spec_from_file_location(
                fullname,
                kept.path,
                loader=_KeepingLoader(fullname, kept.path, self, kept.code),
                submodule_search_locations=kept.locations,
            )
        spec = self._found_by_others(fullname, path, target)
        if (
            spec is None
            or not spec.has_location
            or spec.origin is None
            or not self._owns(fullname, spec.origin)
        ):
            return spec
        if type(spec.loader) is SourceFileLoader:
            spec.loader = _KeepingLoader(fullname, spec.loader.path, self)
        else:
            self._others.add(os.fsencode(_file_of(spec.origin)))
        return spec

    def keep(
        self, module: str, path: str, source: bytes, code: CodeType, locations: list[str] | None
    ) -> None:
        self._digests[os.fsencode(path)] = content_digest(source)
        self._kept[module] = _Kept(path, locations, code)

    def _found_by_others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (find := getattr(finder, "find_spec", None)) is not None:
                spec: ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    return spec
        return None

    def _owns(self, module: str, origin: str) -> bool:
        if any(_is_within(module, package) for package in self._packages()):
            return True
        if _is_within(module, _OURS):
            return False
        if origin.startswith(self._libraries):
            return False
        if origin.startswith(self._path):
            return not _LIBRARIES.intersection(Path(origin).relative_to(self._path).parts)
        return not origin.startswith(self._around)

    def _packages(self) -> Iterator[str]:
        """The packages that the program is named by: the outermost that are no namespaces, which it may share
        with others."""
        for module in self._program:
            names = module.split(".")
            for depth in range(1, len(names) + 1):
                package = ".".join(names[:depth])
                loaded = sys.modules.get(package)
                if depth == len(names) or loaded is None or getattr(loaded, "__file__", None) is not None:
                    yield package
                    break


class _KeepingLoader(SourceFileLoader):
    def __init__(self, module: str, path: str, own: OwnCode, code: CodeType | None = None) -> None:
        super().__init__(module, path)
        self._own = own
        self._code = code

    def exec_module(self, module: ModuleType) -> None:
        if self._code is None:
            self._read(module)
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType | None:
        return self._code or super().get_code(fullname)

    def _read(self, module: ModuleType) -> None:
        path: Any = self.path
        while self._code is None:
            source = self.get_data(path)
            code = self._compiled(module.__name__, source)
            # Saved meanwhile: nobody could say which of the two was compiled.
            if code is not None and self.get_data(path) == source:
                locations = getattr(module, "__path__", None)
                self._code = code
                self._own.keep(
                    module.__name__, path, source, code, None if locations is None else list(locations)
                )

    def _compiled(self, name: str, source: bytes) -> CodeType | None:
        """Bytecode is filed under the second and the size of its source: where that was saved twice within a
        second it may be of the first. So it is used only where it is younger than the source."""
        try:
            cached = Path(importlib.util.cache_from_source(self.path))
            if cached.stat().st_mtime_ns <= os.stat(self.path).st_mtime_ns:  # noqa: PTH116
                cached.unlink()
        except FileNotFoundError:
            pass
        except (OSError, NotImplementedError):
            code: CodeType = self.source_to_code(source, self.path)
            return code
        return super().get_code(name)


def _library_folders() -> set[str]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return {os.path.abspath(f) for f in (*folders, *site.getsitepackages(), site.getusersitepackages())}  # noqa: PTH100


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _file_of(origin: str) -> str:
    """What of it is on the disk: the archive, of a module in one."""
    path = origin
    while not os.path.exists(path) and os.path.dirname(path) != path:  # noqa: PTH110, PTH120
        path = os.path.dirname(path)  # noqa: PTH120
    return path
