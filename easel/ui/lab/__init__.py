"""The Lab tab: search, classification, matrix and map."""
