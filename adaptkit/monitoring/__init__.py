"""What a service is asked: its log, and whether that is still what its adapters were made for."""
