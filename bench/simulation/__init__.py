"""Ownership, recommendation and reconnecting at a thousand servers, by the rules that the servers follow.

The rules are asked themselves, on samples; where millions of answers are needed, something equal and faster stands in
for them, and both are compared. The same seed gives the same figures.
"""
