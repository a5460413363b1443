"""Downstream tasks: what an encoder is worth to classification and segmentation with few labels."""
