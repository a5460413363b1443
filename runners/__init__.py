"""What the stages of the pipeline execute: data, training, evaluation, the sweep."""
