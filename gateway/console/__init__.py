"""What a person sees of a gateway in the foreground: steps while it starts, and one panel when it serves."""
