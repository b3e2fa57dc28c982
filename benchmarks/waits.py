"""Counts the operations that would make the CPU wait for a GPU; no GPU is needed."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive")
_COPIES = ("lift_fresh",)  # a tensor of Python numbers, which are in the CPU's memory


class WaitCounter(TorchDispatchMode):
    """Counts, in a run on the CPU, the operations that would wait for a GPU: reads of values, copies from the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.drawn = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in (*_READS, *_COPIES) or (name in ("index", "index_put", "index_put_") and _by_mask(args[1])):
            self.found.append(name)
        self.drawn += name in ("randn", "normal_", "rand", "uniform_")
        return func(*args, **(kwargs or {}))


def _by_mask(indices) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
