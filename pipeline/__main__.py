"""`python -m pipeline` is `trace-import`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
