"""Many runs: where they are kept, how they are started, and what happens when they fail."""
