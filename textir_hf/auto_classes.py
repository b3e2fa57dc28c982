"""Makes transformers' Auto classes know the embedded encoder, without importing transformers.

After `import textir_hf`, `AutoModel.from_pretrained(folder)` and `pipeline("zero-shot-image-classification", folder)`
shall take a `MiniCLIPModel`. transformers has no entry point for other packages' models: a class must be handed to
`AutoConfig.register`, which takes seconds to import, and `import textir_hf` shall stay light. So this module waits for
the import of `AutoConfig`, by whomever, and registers the config right after it. Nothing of transformers is replaced.
"""

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder

_AUTO_CONFIG = "transformers.models.auto.configuration_auto"  # every Auto class imports it
_REGISTERING = "textir_hf.models.configuration"


class _AutoConfigFinder(MetaPathFinder):
    """Finds the module of `AutoConfig` as Python does, and imports ours when it has run."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name != _AUTO_CONFIG:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module) -> None:
            execute(module)
            importlib.import_module(_REGISTERING)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Registers the encoder now if `AutoConfig` is imported already, else when it will be."""
    if _AUTO_CONFIG in sys.modules:
        importlib.import_module(_REGISTERING)
    else:
        sys.meta_path.insert(0, _AutoConfigFinder())
