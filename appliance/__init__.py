"""pxe-appliance: the daemon that owns a PXE VLAN."""

__version__ = "0.1.0"
