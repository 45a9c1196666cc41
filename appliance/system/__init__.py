"""Hands on the operating system: files, commands, network interfaces, clocks, systemd."""
