"""What firmware asks for and how far a machine has come."""
