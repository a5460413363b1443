"""From a spec and its data to the exact set of training runs, what they cost, and the DVC pipeline."""
