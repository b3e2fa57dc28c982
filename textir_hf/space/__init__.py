"""What the Space (`app.py`) is made of besides its page: texts, masks, examples, and how it is published."""
