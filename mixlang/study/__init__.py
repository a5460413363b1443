"""A study from spec to version: its workspace, its stages through DVC, and what is shown of it."""
