"""What a cluster is made of, read from the text of its settings. Pure: no file is opened here."""
