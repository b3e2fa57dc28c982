"""Images: files, arrays and tensors, color, size, masks and tiles. No network in here."""
