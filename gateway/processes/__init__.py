"""Several data planes on one port: a parent and its children, which share what must be one for the node.

The parent runs the engines, the health checks and the control plane; each child is a data plane of its own. They send
each other ``messages`` over a socket. The counts that limits and policies look at lie in
memory that all of them map (``shared_cells``): each cell is written by one process only, and a total is the sum of its
row.
"""
