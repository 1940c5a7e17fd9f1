"""`weir simulate`: vendors' real wire formats on loopback, answers made up, faults on request."""
