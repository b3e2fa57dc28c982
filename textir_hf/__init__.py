"""TextIR: image restoration that a sentence steers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# diffusers looks for its base classes in the module that model_index.json names; they are no names of ours.
__all__ = sorted(set(__all__) - {"ModelMixin", "PreTrainedModel"})
