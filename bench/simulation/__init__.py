"""What no machine here can run: ownership, recommendation and reconnecting at a thousand servers, on the product's rules.

The rules are asked themselves, on samples; where millions of answers are needed, something equal and faster stands in
for them, and both are compared. The same seed gives the same figures.
"""
