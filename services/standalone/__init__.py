"""`weir up`: every role as a child process of one supervisor, with what they stand on embedded.

Called by the CLI. It knows how to start, watch and stop processes, where the data is and what
to tell the user; of what the roles do it knows only the command lines and the environment.
"""
