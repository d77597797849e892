"""``python -m pipelines.weights``: the models' files, on the command line."""

if __name__ == "__main__":
    import sys

    try:  # Ctrl+C is minded from the first line on
        from easel.cli.start import run_weights
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)
    sys.exit(run_weights())
