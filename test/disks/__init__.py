"""Tests of disks made of memory, and of what is swept on them."""
