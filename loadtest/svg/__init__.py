"""Charts as SVG, without a plotting library: each is a ``Drawing``, for an HTML page or as a file of its own.

A library would be a large dependency for two kinds of chart, and its pictures would not follow a page into the dark.
"""
