"""From command-line flags to a trained adapter and its reports."""
