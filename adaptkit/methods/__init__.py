"""What can be injected: one file a method, the registry, and the grammar that reads
`lora[r=8]+prefix`.
"""
