"""Bytes as an operator reads them. Text only; how the config writes sizes is none of its business."""


def mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def size(count: int) -> str:
    """Bytes in the unit that leaves at most four digits: `41.2 MiB`."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1000:
            return f"{amount:.1f} {unit}" if amount < 100 else f"{amount:.0f} {unit}"
    return f"{amount / 1024:.1f} TiB"
