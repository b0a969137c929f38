"""Search windows of recordings by what they sound like."""
