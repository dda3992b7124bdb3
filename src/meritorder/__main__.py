"""`python -m meritorder`."""

from meritorder.cli import main

if __name__ == "__main__":
    main()
