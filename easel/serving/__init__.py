"""Where requests run: on this machine's device, or elsewhere behind the same interface."""
