"""What tests of several rooms share: toys, oracles, and checks."""
