"""What restored images are worth: protocols, baselines, the effect of the text, and the reports."""
