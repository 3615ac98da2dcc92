"""The environments' names in Gymnasium's registry: ``a3g/SuperMarioBros-v0`` and ``a3g/SuperMarioBros-1-1-v0`` to ``8-4``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NAMESPACE = "a3g"
_REGISTRY_MODULE = "gymnasium.envs.registration"


def register_environments() -> None:
    """Enter all environments into Gymnasium's registry. Imports Gymnasium, but neither PyTorch nor an engine."""
    import gymnasium

    from a3g.game.stages import STAGES, env_id_of  # only now: a command has to meet Ctrl-C before it imports anything of size

    for stage in (None, *STAGES):
        env_id = env_id_of(stage)
        gymnasium.register(
            id=f"{NAMESPACE}/{env_id}",
            entry_point="a3g.game.registered:make",
            vector_entry_point="a3g.game.registered:make_vec",
            kwargs={"env_id": env_id},
        )


def register_with_gymnasium() -> None:
    """Register now if Gymnasium is imported already, else as soon as it is: importing it here takes a third of a second."""
    if _REGISTRY_MODULE in sys.modules:
        register_environments()
    elif not any(isinstance(finder, _GymnasiumWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GymnasiumWatcher())


class _GymnasiumWatcher(MetaPathFinder):
    """Finds Gymnasium as Python itself does, and has the environments registered when it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _RegisteringLoader(spec.loader, self)
                return spec
        return None


class _RegisteringLoader(Loader):
    """Loads Gymnasium by its own loader, then registers."""

    def __init__(self, loader: Loader, watcher: _GymnasiumWatcher) -> None:
        self._loader = loader
        self._watcher = watcher

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # What asks the module for its loader later, such as importlib.resources, gets Gymnasium's own.
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)
            register_environments()
