"""Published mixtures: immutable versions with their evidence, their status and tags. Knows files only."""

from mixlang.registry.store import Deprecated, Mixture, NotPublished, Registry

__all__ = ["Deprecated", "Mixture", "NotPublished", "Registry"]
