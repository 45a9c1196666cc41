"""The appliance as a service of this host, for pip and uv: what is put where, and taken away again."""
