"""The same as `adaptive-bench tables ...`."""

import sys

from adaptive_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["tables", *sys.argv[1:]]))
