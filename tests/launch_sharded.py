"""Runs the training as Accelerate would on GPUs, on the CPU: it shards networks only where it finds GPUs."""

import sys

from accelerate import PartialState
from accelerate.utils import DistributedType

from training.train import main

if __name__ == "__main__":
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    sys.exit(main())
