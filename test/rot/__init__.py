"""Every sector of a journal, zeroed and with a flipped bit."""
