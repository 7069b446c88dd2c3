"""A tuned model in the formats that others run, checked to answer as what was trained."""
