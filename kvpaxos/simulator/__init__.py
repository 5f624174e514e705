"""A cluster's world made of memory, in which everything that can go wrong can be made to."""
