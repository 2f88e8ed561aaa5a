"""Pages of the documentation, as a reader goes through them: what to type, and what to write into files."""

import re


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def lines(block: str) -> list[str]:
    """The commands of a block of `sh`, a line each, without their comments."""
    whole = re.sub(r"\\\n\s*", "", block)
    stripped = (re.sub(r"\s+# .*", "", line).strip() for line in whole.splitlines())
    return [line for line in stripped if line]


def sections(text: str) -> dict[str, str]:
    """What stands under each heading of the second level."""
    _, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return {heading: rest for heading, _, rest in (part.partition("\n") for part in parts)}
