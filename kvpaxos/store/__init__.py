"""The state machine: what commands do to keys. It knows no slots and does no IO."""
