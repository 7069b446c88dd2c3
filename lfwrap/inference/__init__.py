"""What comes after training: chat, export, comparison."""
