"""`textir evaluate` for `accelerate launch -m training.evaluate`, on as many processes as there are."""

import sys

from textir_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
