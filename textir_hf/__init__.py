"""TextIR: restores damaged images to match a text prompt."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# diffusers looks for its base classes in the module that model_index.json names; they are not names of ours.
__all__ = sorted(set(__all__) - {"ModelMixin", "PreTrainedModel"})
