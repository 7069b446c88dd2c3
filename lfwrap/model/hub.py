"""The Hugging Face hub as its own client sees it: its address, and the variables that hold a token."""

DEFAULT_ENDPOINT = "https://huggingface.co"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
