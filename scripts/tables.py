"""`adaptive-bench tables` as a script: python scripts/tables.py ..."""

import sys

from adaptive_bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["tables", *sys.argv[1:]]))
