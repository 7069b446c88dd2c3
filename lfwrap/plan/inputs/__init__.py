"""What a plan is made from: the training's settings, its batch, the lengths of its rows."""
