"""`tidings replay`: many devices hold a real conversation again, and what each received is checked."""
