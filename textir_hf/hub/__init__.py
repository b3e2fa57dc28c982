"""The Hub and what goes there: download, conversion of released checkpoints, cards, publishing."""
