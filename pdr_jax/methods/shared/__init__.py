"""What several methods share: the optimiser and its step, the baselines' encoder and decoder, augmentations.
"""
