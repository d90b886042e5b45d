"""Physically disentangled representations: depth, albedo, light and viewpoint from plain images."""

__version__ = "0.1.0"
