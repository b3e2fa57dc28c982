"""Layerwise casting: kernels that lie in a small type between the calls of their layers."""

import re

import torch
from diffusers.hooks import HookRegistry
from diffusers.hooks.layerwise_casting import LayerwiseCastingHook
from torch import nn


class KernelCastingHook(LayerwiseCastingHook):
    """Casts a layer's own `weight` and nothing else: not its bias, its noise strength, or the layer of its style."""

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        return self._cast(module, self.storage_dtype)

    def pre_forward(self, module: nn.Module, *args, **kwargs) -> tuple[tuple, dict]:
        self._cast(module, self.compute_dtype)
        return args, kwargs

    def post_forward(self, module: nn.Module, output):
        self._cast(module, self.storage_dtype)
        return output

    def _cast(self, module: nn.Module, dtype: torch.dtype) -> nn.Module:
        module.weight.data = module.weight.data.to(dtype, non_blocking=self.non_blocking)
        return module


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
