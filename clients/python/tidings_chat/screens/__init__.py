"""The screens: sign-in, chat, and the dialogs over it."""
