"""``python -m pipelines.weights``, the old name of ``python -m easel.cli.weights``."""

if __name__ == "__main__":
    from easel.cli.weights import main

    main()
