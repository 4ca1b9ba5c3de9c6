"""`adaptive-bench calibrate` as a script: python scripts/calibrate.py model=mlp ..."""

import sys

from adaptive_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
