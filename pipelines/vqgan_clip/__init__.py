"""VQGAN+CLIP: latents optimised until CLIP says that the picture matches the prompt."""
