"""The same as `adaptive-bench calibrate ...`."""

import sys

from adaptive_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
