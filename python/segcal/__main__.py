"""The program: ``segcal VERB ...`` or ``python -m segcal VERB ...``."""

import signal
import sys

from segcal import _native


def main() -> int:
    """Runs the program with the arguments of this process and returns its exit status."""
    # Python handles Ctrl-C only between its own instructions; the program handles signals itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.main(["segcal", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
