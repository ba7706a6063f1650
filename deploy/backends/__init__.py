"""Examples for backends: how they check what revcred says of a call."""
