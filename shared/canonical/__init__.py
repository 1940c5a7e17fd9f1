"""The one form that every protocol is decoded into and encoded from.

Nothing here knows a wire format, a vendor or the bus; everything else may import it.
"""
