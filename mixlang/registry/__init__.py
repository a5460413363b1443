"""Published mixtures: immutable versions with their evidence, their status and tags. Knows files only."""

from mixlang.registry.versions import Deprecated, Mixture, NotPublished, Registry

__all__ = ["Deprecated", "Mixture", "NotPublished", "Registry"]
