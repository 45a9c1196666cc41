"""The virtual rack: a segment in network namespaces and machines in QEMU that really PXE-boot."""
