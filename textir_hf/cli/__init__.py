"""The `textir` command. It loads no neural network before files and options have been checked."""
