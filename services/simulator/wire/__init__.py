"""Vendors' wire formats as their servers speak them: one file each, and nothing shared with the
gateway's own codecs, so that a mistake there cannot cancel out against the same mistake here.
"""
