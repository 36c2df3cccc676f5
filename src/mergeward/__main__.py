"""`python -m mergeward`."""

from mergeward.cli import main

if __name__ == "__main__":
    main()
