"""Where each key of a TOML text stands: key path -> line. A light scan of a text that is known to be valid
TOML; what the values mean does not belong here."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

Key = tuple[str | int, ...]

_TOKEN: Final = re.compile(
    r"""
      (?P<space>   [ \t\r]+ | \#[^\n]* )
    | (?P<newline> \n )
    | (?P<string>  \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | \"(?:\\.|[^\"\\\n])*\" | '[^'\n]*' )
    | (?P<mark>    [\[\]{}=,.] )
    | (?P<bare>    [^\s\#\"'\[\]{}=,.]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_END: Final = ("end", "", 0)


class Places:
    """The line of each key, header and list element of a text."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        self._tokens = _tokens(text)
        self._next = next(self._tokens, _END)
        self._scan()

    def line(self, key: Key) -> int | None:
        """The line of a key, or of the closest table around it; None when nothing of it is in the text."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key)

    def _scan(self) -> None:
        table: Key = ()
        while self._next != _END:
            _, text, line = self._next
            if text == "\n":
                self._advance()
            elif text == "[":
                while self._next[1] == "[":
                    self._advance()
                table = self._key((), line)
                while self._next[1] == "]":
                    self._advance()
            else:
                self._assignment(table)

    def _assignment(self, table: Key) -> None:
        key = self._key(table, self._next[2])
        self._advance()
        self._value(key)

    def _key(self, table: Key, line: int) -> Key:
        key = table
        while self._next[0] in {"bare", "string"}:
            kind, text, _ = self._advance()
            key = (*key, _unquoted(text) if kind == "string" else text)
            self._lines.setdefault(key, line)
            if self._next[1] == ".":
                self._advance()
        return key

    def _value(self, key: Key) -> None:
        if self._next[1] == "{":
            self._advance()
            while self._next[1] not in {"}", ""}:
                if self._next[1] in {",", "\n"}:
                    self._advance()
                else:
                    self._assignment(key)
            self._advance()
        elif self._next[1] == "[":
            self._advance()
            index = 0
            while self._next[1] not in {"]", "}", ""}:
                if self._next[1] in {",", "\n"}:
                    self._advance()
                else:
                    self._lines.setdefault((*key, index), self._next[2])
                    self._value((*key, index))
                    index += 1
            self._advance()
        else:
            while self._next[0] == "string" or self._next[1] not in {",", "]", "}", "\n", ""}:
                self._advance()

    def _advance(self) -> tuple[str, str, int]:
        token = self._next
        self._next = next(self._tokens, _END)
        return token


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind is not None and kind != "space":
            yield kind, match[0], line
        line += match[0].count("\n")


def _unquoted(text: str) -> str:
    parsed: Mapping[str, str] = tomllib.loads(f"key = {text}")
    return parsed["key"]
