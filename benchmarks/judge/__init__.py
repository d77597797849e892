"""The judge of drawn pictures: its network, its training, its files."""
