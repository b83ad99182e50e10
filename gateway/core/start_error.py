"""Why a gateway cannot do as its configuration says."""

from __future__ import annotations


class StartError(Exception):
    """The gateway cannot start, or cannot take over another configuration; the message says what to change.

    An address is taken, a certificate cannot be read, a GPU is missing.
    """
