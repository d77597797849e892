"""``python -m pipelines``, the old name of ``python -m easel``."""

if __name__ == "__main__":
    import sys

    from easel.cli.main import main

    sys.exit(main())
