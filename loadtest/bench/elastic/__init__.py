"""How well rules of scaling do on a day of traffic, simulated in virtual time."""
