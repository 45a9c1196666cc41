"""An external Matchbox: pushed to, asked, down, lying, and with the wrong certificates."""
