"""Wire formats: one codec a protocol, each serving both sides. No sockets, no clock, no vendors."""
