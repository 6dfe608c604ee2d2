"""What a model is made of beside its transformer, as its folder says, key by key."""
