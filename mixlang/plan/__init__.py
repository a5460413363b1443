"""From a spec and its data to the exact set of training runs, the stages, and what they cost."""
