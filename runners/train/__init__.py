"""One run: pretraining a masked autoencoder, and evaluating it."""
