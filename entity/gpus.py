"""How an entity is kept to the GPUs that are its own. Which they are is decided by the supervisor; its fork
server sees none."""

import os
from collections.abc import Sequence


def see_only(gpus: Sequence[int]) -> None:
    """For the CUDA libraries of this process, and of what it starts. Before any of them looks: what they have
    seen once they see for good. NVIDIA_VISIBLE_DEVICES is for container runtimes, and says nothing here."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
