"""Published mixtures: immutable versions with their evidence. Knows files only."""

from mixlang.registry.store import Mixture, Registry

__all__ = ["Mixture", "Registry"]
