"""A tuned model that answers: found, loaded, asked, served, and held to what was trained."""
