"""The commands of `adaptkit`, one file each."""
