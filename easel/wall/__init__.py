"""The wall of a class: what the room draws, voted on, hidden and pinned. It knows no pages."""
