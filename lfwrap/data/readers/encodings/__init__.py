"""Which encoding a text has: asked of its bytes, with a confidence, or refused.

`encoding` decides, and copies to UTF-8. Below it, `byte_sample` collects the bytes that tell, `readings` weighs what
they would read, and `frequent_characters` has the characters by which it does so.
"""
