"""`python -m textir_hf` is the `textir` command."""

import sys

from textir_hf.cli.main import main

sys.exit(main())
