"""Download a data set into <root>/<name>/, where dataset.root=<root> finds it: python scripts/fetch_data.py ptb [--root data]."""

import argparse
from pathlib import Path

from adaptive_bench.datasets.fetch import SOURCES, fetch


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(SOURCES))
    parser.add_argument("--root", type=Path, default=Path("data"), help="what dataset.root names (default: data)")
    chosen = parser.parse_args()
    try:
        written = [str(path) for path in fetch(chosen.name, root=chosen.root)]
    except ValueError as error:
        parser.exit(1, f"fetch_data: error: {error}\n")
    print(*written or [f"{chosen.root / chosen.name} is complete already"], sep="\n")


if __name__ == "__main__":
    main()
