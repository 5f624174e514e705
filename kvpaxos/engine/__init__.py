"""Where the state lives: in memory, or in RocksDB."""
