"""`adaptive-bench report` as a script: python scripts/report.py ..."""

import sys

from adaptive_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
