"""The doctor: is this host fit to own a PXE VLAN? Judges are pure, gatherers look; `examine` is the round."""
