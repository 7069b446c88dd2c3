"""What is made of a trained model: merged, converted, quantised, uploaded."""
