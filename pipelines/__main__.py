"""``python -m pipelines``, the old name of ``python -m easel``."""

if __name__ == "__main__":
    import sys

    try:  # Ctrl+C is minded from the first line on
        from easel.cli.main import main
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)
    sys.exit(main())
