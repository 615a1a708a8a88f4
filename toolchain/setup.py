"""Sets up the tools of this project: `python3 toolchain/setup.py --help`. Needs Python's standard library alone."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - this file must say so before anything newer is loaded
        sys.exit("Python 3.11 or newer is needed, this is {}.{}: {}".format(*sys.version_info[:2], sys.executable))
    sys.path[0] = str(ROOT)
    from toolchain.cli import main

    sys.exit(main(sys.argv[1:], ROOT))
