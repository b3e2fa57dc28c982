"""The networks: the generator and its layers, the embedded dual encoder, the recentering of text embeddings."""
