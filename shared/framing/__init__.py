"""Bytes to frames and back, incremental and bounded. Nothing here knows what a frame means."""
