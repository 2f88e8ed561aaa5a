"""Bytes as the core's events tell of them. Text only; how the config writes sizes is none of its business."""


def mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
