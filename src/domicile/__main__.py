"""`python -m domicile` is the `domicile` command."""

from domicile.cli import main

if __name__ == "__main__":
    main()
