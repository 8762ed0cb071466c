"""The screens: signing in, talking, and the dialogs over it."""
