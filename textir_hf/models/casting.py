"""Layerwise casting: kernels that lie in a small type between the calls of their layers."""

import re
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import nn


class KernelCastingHook(ModelHook):
    """Holds a layer's own `weight` in a small type, and gives each call a copy in the type that it computes in.

    Nothing else is cast: not the bias, the noise strength, or the layer of the style. The copy is a differentiable
    function of the weight, so the backward pass finds it where the forward pass left it.

    Args:
        storage_dtype: Of the weight.
        compute_dtype: Of the copy; diffusers takes it for the network's type.
        non_blocking: Cast without waiting for the device.
    """

    def __init__(self, storage_dtype: torch.dtype, compute_dtype: torch.dtype, non_blocking: bool) -> None:
        self.storage_dtype, self.compute_dtype, self.non_blocking = storage_dtype, compute_dtype, non_blocking

    def initialize_hook(self, module: Any) -> nn.Module:
        module.weight.data = module.weight.data.to(self.storage_dtype, non_blocking=self.non_blocking)
        return module

    def new_forward(self, module: Any, *args, **kwargs):
        stored = module.weight
        module._parameters["weight"] = stored.to(self.compute_dtype, non_blocking=self.non_blocking)
        try:
            return self.fn_ref.original_forward(*args, **kwargs)
        finally:
            module._parameters["weight"] = stored


def cast_kernels(
    model: nn.Module,
    layers: tuple[type[nn.Module], ...],
    storage_dtype: torch.dtype,
    compute_dtype: torch.dtype,
    skip_modules_pattern: tuple[str, ...] | str = (),
    skip_modules_classes: tuple[type[nn.Module], ...] = (),
    non_blocking: bool = False,
) -> None:
    """Lets every layer of the given classes hold its kernel in `storage_dtype` and compute in `compute_dtype`.

    Args:
        model: Holds the layers.
        layers: Their classes; each has a `weight`.
        storage_dtype: Of the kernels between calls.
        compute_dtype: Of the kernels in a call.
        skip_modules_pattern: Regular expressions; a layer whose name contains one is left out.
        skip_modules_classes: Layers of these classes are left out.
        non_blocking: Cast without waiting for the device.
    """
    patterns = (skip_modules_pattern,) if isinstance(skip_modules_pattern, str) else skip_modules_pattern
    for name, module in model.named_modules():
        if not isinstance(module, layers) or isinstance(module, skip_modules_classes):
            continue
        if not any(re.search(pattern, name) for pattern in patterns):
            hook = KernelCastingHook(storage_dtype, compute_dtype, non_blocking)
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, "layerwise_casting")
