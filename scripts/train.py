"""The same as `adaptive-bench train ...`."""

import sys

from adaptive_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
