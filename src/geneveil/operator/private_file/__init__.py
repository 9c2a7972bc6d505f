"""Files with secrets: made whole and durable, read by their owner alone, destroyed."""
