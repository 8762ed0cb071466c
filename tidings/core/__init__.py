"""What all parts of tidings agree on: values, ports, ids, limits, errors, time. No I/O here."""
