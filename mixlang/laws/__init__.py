"""Scaling and transfer laws: families, fitting, choice by cross-validation. Knows tables of numbers only."""

from mixlang.laws.families import FAMILIES, Law
from mixlang.laws.fit import fit_laws
from mixlang.laws.fitted import Fit, FittedLaw, read_fit
from mixlang.laws.table import LossTable

__all__ = ["FAMILIES", "Fit", "FittedLaw", "Law", "LossTable", "fit_laws", "read_fit"]
