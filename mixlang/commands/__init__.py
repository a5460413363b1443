"""The commands: each parses nothing, calls one thing, prints what it found and returns the exit code."""
