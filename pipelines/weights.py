"""``python -m pipelines.weights``: the models' files, on the command line."""

if __name__ == "__main__":
    import sys

    from easel.cli.start import run_weights

    sys.exit(run_weights())
