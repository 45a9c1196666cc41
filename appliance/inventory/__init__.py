"""The machines: what an operator wrote, parsed into types that cannot be wrong inside."""
