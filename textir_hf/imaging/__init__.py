"""Images: files, arrays and tensors, color, size, masks, and where in an image to look. Nothing here uses a network.

Modules load when they are first used, since some of them need PyTorch and files do not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["blend", "color", "faces", "files", "geometry", "grid", "masks", "raster", "resample", "scale"],
)
