"""The language: YAML with positions, the schema, the checks and their diagnostics. Knows no other package."""

from mixlang.spec.diagnostics import Diagnostic, SpecError
from mixlang.spec.loader import LoadedSpec, load_spec
from mixlang.spec.schema import Spec

__all__ = ["Diagnostic", "LoadedSpec", "Spec", "SpecError", "load_spec"]
