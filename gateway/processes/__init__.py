"""Several data planes on one port: the parent leads, its children serve, and what must be one is shared.

The parent runs the engines, the probes and the control plane; each child is a data plane of its own. They talk over a
socket (``messages``). What a request cannot wait for, the counts that limits and policies look at, lies in memory that
all of them map (``cells``): each cell is written by one process only, and a total is the sum of its row.
"""
