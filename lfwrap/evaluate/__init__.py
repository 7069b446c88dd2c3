"""What a tuned model is worth: loss on rows that were held out, and how it calls tools."""
