"""Training of the dual encoder, stage by stage."""
