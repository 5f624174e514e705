"""A deterministic world for replicas: clock, network, disks, processes, clients, checks."""
