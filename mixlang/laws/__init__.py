"""Scaling and transfer laws: families, fitting, choice by cross-validation. Knows tables of numbers only."""

from mixlang.laws.families import FAMILIES, Law
from mixlang.laws.fit import FittedLaw, fit_laws, read_fit
from mixlang.laws.table import LossTable

__all__ = ["FAMILIES", "FittedLaw", "Law", "LossTable", "fit_laws", "read_fit"]
