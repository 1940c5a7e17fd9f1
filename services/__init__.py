"""The roles, one folder each, and the command that starts them.

A role imports from `shared` alone: two roles meet on the bus and nowhere else. Only the CLI
(`services/__main__.py`) and `weir up` (`services/standalone`) may import any of them.
"""
