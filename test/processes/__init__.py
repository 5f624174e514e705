"""Real ``twistd`` processes, real disks, real signals."""
