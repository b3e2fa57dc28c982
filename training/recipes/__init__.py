"""What the embedded checkpoints needed once, beside the trainer."""
