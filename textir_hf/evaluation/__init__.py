"""Evaluation of checkpoints: protocols, baselines, the effect of the text, and reports."""
