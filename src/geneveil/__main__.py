"""`python -m geneveil` is the console script."""

from geneveil.cli.app import main

if __name__ == "__main__":
    main()
