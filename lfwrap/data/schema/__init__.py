"""What rows are, whatever their format: conversations, columns, and the rules that both are held to."""
