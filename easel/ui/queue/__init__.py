"""What waits and what runs, as far as each visitor may know."""
