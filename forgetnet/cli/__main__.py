"""``python -m forgetnet.cli`` is ``forgetnet``."""

from forgetnet.cli import main

if __name__ == "__main__":
    main()
