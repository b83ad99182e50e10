"""Tools that put load on a gateway and judge what comes back."""
