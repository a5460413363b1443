"""mixlang: solve, prove and publish the data mixture of a 3D medical foundation model.

`mixlang.laws` and `mixlang.allocate` work on plain tables and can be used without the compiler;
`mixlang.registry` reads published mixtures. Importing this package loads none of them.
"""

__version__ = "0.1.0"
