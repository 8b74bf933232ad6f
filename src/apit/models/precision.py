"""In which arithmetic networks compute; transforms, losses and optimisers stay in float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A block in which matrix products and convolutions are done in a precision."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
