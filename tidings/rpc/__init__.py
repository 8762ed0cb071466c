"""How every tidings service is served and called: sign-in, errors, health, reflection, TLS, drain."""
